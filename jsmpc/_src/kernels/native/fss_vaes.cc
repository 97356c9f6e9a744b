#ifdef __x86_64__
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "aes.h"
#include "fss.h"

#define JSMPC_TARGET "avx512f,avx512dq,avx512bw,avx512vl,vaes,avx2,aes"
#include "target_begin.h"

namespace jsmpc {
namespace vaes {

constexpr int kVectors = 4;  // of each half, of eight blocks
constexpr int kAtOnce = 8 * kVectors;

inline __m512i key(int r) {
  return _mm512_broadcast_i32x4(_mm_set_epi64x(kRoundKeys[r][1], kRoundKeys[r][0]));
}

inline void hash(const uint64_t* lo, const uint64_t* hi, uint64_t* out_lo, uint64_t* out_hi) {
  __m512i x[2 * kVectors], y[2 * kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const __m512i l = _mm512_loadu_si512(lo + 8 * v), h = _mm512_loadu_si512(hi + 8 * v);
    x[2 * v] = _mm512_unpacklo_epi64(l, h);
    x[2 * v + 1] = _mm512_unpackhi_epi64(l, h);
  }
#pragma GCC unroll 16
  for (int v = 0; v < 2 * kVectors; ++v) y[v] = x[v] ^ key(0);
#pragma GCC unroll 16
  for (int r = 1; r < kAesRounds; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < 2 * kVectors; ++v) y[v] = _mm512_aesenc_epi128(y[v], key(r));
#pragma GCC unroll 16
  for (int v = 0; v < 2 * kVectors; ++v)
    y[v] = _mm512_aesenclast_epi128(y[v], key(kAesRounds)) ^ x[v];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    _mm512_storeu_si512(out_lo + 8 * v, _mm512_unpacklo_epi64(y[2 * v], y[2 * v + 1]));
    _mm512_storeu_si512(out_hi + 8 * v, _mm512_unpackhi_epi64(y[2 * v], y[2 * v + 1]));
  }
}

#include "fss_loops.h"

}  // namespace vaes

extern const FssKernels vaes_kernels;
const FssKernels vaes_kernels = {vaes::generate, vaes::evaluate, vaes::peak};

}  // namespace jsmpc

#include "target_end.h"
#endif
