#include <algorithm>
#include <cstring>

#include "aes.h"
#include "fss.h"

namespace jsmpc {
namespace portable {

// AES in the bits of eight blocks side by side, without tables: bit i of plane b is bit b of byte i
// of a block, and so the time depends on no data.
constexpr int kAtOnce = 8;
typedef uint16_t Planes __attribute__((vector_size(16)));

// The 8 x 8 bits of a word transposed.
inline uint64_t transposed(uint64_t x) {
  uint64_t t = (x ^ x >> 7) & 0x00aa00aa00aa00aa;
  x ^= t ^ t << 7;
  t = (x ^ x >> 14) & 0x0000cccc0000cccc;
  x ^= t ^ t << 14;
  t = (x ^ x >> 28) & 0x00000000f0f0f0f0;
  return x ^ t ^ t << 28;
}

// Byte b of both halves of a block.
inline uint16_t plane(uint64_t lo, uint64_t hi, int b) {
  return uint16_t((lo >> 8 * b & 255) | (hi >> 8 * b & 255) << 8);
}

// The S-box on all bytes (J. Boyar, R. Peralta, A small depth-16 circuit for the AES S-box,
// SEC 2012).
inline void sub_bytes(Planes (&u)[8]) {
  const Planes u0 = u[7], u1 = u[6], u2 = u[5], u3 = u[4];
  const Planes u4 = u[3], u5 = u[2], u6 = u[1], u7 = u[0];
  const Planes t1 = u0 ^ u3, t2 = u0 ^ u5, t3 = u0 ^ u6, t4 = u3 ^ u5, t5 = u4 ^ u6, t6 = t1 ^ t5,
      t7 = u1 ^ u2, t8 = u7 ^ t6, t9 = u7 ^ t7, t10 = t6 ^ t7, t11 = u1 ^ u5, t12 = u2 ^ u5,
      t13 = t3 ^ t4, t14 = t6 ^ t11, t15 = t5 ^ t11, t16 = t5 ^ t12, t17 = t9 ^ t16,
      t18 = u3 ^ u7, t19 = t7 ^ t18, t20 = t1 ^ t19, t21 = u6 ^ u7, t22 = t7 ^ t21,
      t23 = t2 ^ t22, t24 = t2 ^ t10, t25 = t20 ^ t17, t26 = t3 ^ t16, t27 = t1 ^ t12;
  const Planes m1 = t13 & t6, m2 = t23 & t8, m3 = t14 ^ m1, m4 = t19 & u7, m5 = m4 ^ m1,
      m6 = t3 & t16, m7 = t22 & t9, m8 = t26 ^ m6, m9 = t20 & t17, m10 = m9 ^ m6, m11 = t1 & t15,
      m12 = t4 & t27, m13 = m12 ^ m11, m14 = t2 & t10, m15 = m14 ^ m11, m16 = m3 ^ m2,
      m17 = m5 ^ t24, m18 = m8 ^ m7, m19 = m10 ^ m15, m20 = m16 ^ m13, m21 = m17 ^ m15,
      m22 = m18 ^ m13, m23 = m19 ^ t25, m24 = m22 ^ m23, m25 = m22 & m20, m26 = m21 ^ m25,
      m27 = m20 ^ m21, m28 = m23 ^ m25, m29 = m28 & m27, m30 = m26 & m24, m31 = m20 & m23,
      m32 = m27 & m31, m33 = m27 ^ m25, m34 = m21 & m22, m35 = m24 & m34, m36 = m24 ^ m25,
      m37 = m21 ^ m29, m38 = m32 ^ m33, m39 = m23 ^ m30, m40 = m35 ^ m36, m41 = m38 ^ m40,
      m42 = m37 ^ m39, m43 = m37 ^ m38, m44 = m39 ^ m40, m45 = m42 ^ m41, m46 = m44 & t6,
      m47 = m40 & t8, m48 = m39 & u7, m49 = m43 & t16, m50 = m38 & t9, m51 = m37 & t17,
      m52 = m42 & t15, m53 = m45 & t27, m54 = m41 & t10, m55 = m44 & t13, m56 = m40 & t23,
      m57 = m39 & t19, m58 = m43 & t3, m59 = m38 & t22, m60 = m37 & t20, m61 = m42 & t1,
      m62 = m45 & t4, m63 = m41 & t2;
  const Planes l0 = m61 ^ m62, l1 = m50 ^ m56, l2 = m46 ^ m48, l3 = m47 ^ m55, l4 = m54 ^ m58,
      l5 = m49 ^ m61, l6 = m62 ^ l5, l7 = m46 ^ l3, l8 = m51 ^ m59, l9 = m52 ^ m53,
      l10 = m53 ^ l4, l11 = m60 ^ l2, l12 = m48 ^ m51, l13 = m50 ^ l0, l14 = m52 ^ m61,
      l15 = m55 ^ l1, l16 = m56 ^ l0, l17 = m57 ^ l1, l18 = m58 ^ l8, l19 = m63 ^ l4,
      l20 = l0 ^ l1, l21 = l1 ^ l7, l22 = l3 ^ l12, l23 = l18 ^ l2, l24 = l15 ^ l9,
      l25 = l6 ^ l10, l26 = l7 ^ l9, l27 = l8 ^ l10, l28 = l11 ^ l14, l29 = l11 ^ l17;
  u[7] = l6 ^ l24; u[6] = ~(l16 ^ l26); u[5] = ~(l19 ^ l28); u[4] = l6 ^ l21; u[3] = l20 ^ l22;
  u[2] = l25 ^ l29; u[1] = ~(l13 ^ l27); u[0] = ~(l6 ^ l23);
}

inline Planes all(uint16_t bits) {
  Planes x;
  for (int j = 0; j < kAtOnce; ++j) x[j] = bits;
  return x;
}

// Row r of the state is bits r, r + 4, ...: it turns by r columns.
inline Planes shift_rows(Planes x) {
  const auto row = [](Planes v, int r) { return v & all(uint16_t(0x1111 << r)); };
  return row(x, 0) | row(x >> 4 | x << 12, 1) | row(x >> 8 | x << 8, 2) | row(x >> 12 | x << 4, 3);
}

// Each byte's neighbour in its column, 1 or 2 further.
inline Planes next(Planes x) { return (x >> 1 & all(0x7777)) | (x << 3 & all(0x8888)); }
inline Planes after_next(Planes x) {
  return (x >> 2 & all(0x3333)) | (x << 2 & all(0xcccc));
}

inline void mix_columns(Planes (&u)[8]) {
  Planes mixed[8];
  for (int b = 0; b < 8; ++b) mixed[b] = u[b] ^ next(u[b]);
  for (int b = 0; b < 8; ++b) {
    Planes twice = b ? mixed[b - 1] : mixed[7];
    if (b == 1 || b == 3 || b == 4) twice ^= mixed[7];
    u[b] = twice ^ next(u[b]) ^ after_next(mixed[b]);
  }
}

inline void add_round_key(Planes (&u)[8], int round) {
  const uint64_t lo = transposed(kRoundKeys[round][0]), hi = transposed(kRoundKeys[round][1]);
  for (int b = 0; b < 8; ++b)
    u[b] ^= all(plane(lo, hi, b));
}

inline void hash(const uint64_t* lo, const uint64_t* hi, uint64_t* out_lo, uint64_t* out_hi) {
  Planes u[8];
  for (int j = 0; j < kAtOnce; ++j) {
    const uint64_t low = transposed(lo[j]), high = transposed(hi[j]);
    for (int b = 0; b < 8; ++b) u[b][j] = plane(low, high, b);
  }
  add_round_key(u, 0);
  for (int round = 1; round <= kAesRounds; ++round) {
    sub_bytes(u);
    for (int b = 0; b < 8; ++b) u[b] = shift_rows(u[b]);
    if (round < kAesRounds) mix_columns(u);
    add_round_key(u, round);
  }
  for (int j = 0; j < kAtOnce; ++j) {
    uint64_t low = 0, high = 0;
    for (int b = 0; b < 8; ++b) {
      low |= uint64_t(u[b][j] & 255) << 8 * b;
      high |= uint64_t(u[b][j] >> 8) << 8 * b;
    }
    out_lo[j] = lo[j] ^ transposed(low);
    out_hi[j] = hi[j] ^ transposed(high);
  }
}

#include "fss_loops.h"

}  // namespace portable

extern const FssKernels portable_fss_kernels;
const FssKernels portable_fss_kernels = {portable::generate, portable::evaluate, portable::peak};

}  // namespace jsmpc
