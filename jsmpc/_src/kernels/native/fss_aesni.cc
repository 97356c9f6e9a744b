#ifdef __x86_64__
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "aes.h"
#include "fss.h"

#define JSMPC_TARGET "avx2,aes"
#include "target_begin.h"

namespace jsmpc {
namespace aesni {

constexpr int kAtOnce = 8;

inline __m128i key(int r) { return _mm_set_epi64x(kRoundKeys[r][1], kRoundKeys[r][0]); }

inline void hash(const uint64_t* lo, const uint64_t* hi, uint64_t* out_lo, uint64_t* out_hi) {
  __m128i x[kAtOnce], y[kAtOnce];
#pragma GCC unroll 8
  for (int v = 0; v < kAtOnce; v += 2) {
    const __m128i l = _mm_loadu_si128((const __m128i*)(lo + v));
    const __m128i h = _mm_loadu_si128((const __m128i*)(hi + v));
    x[v] = _mm_unpacklo_epi64(l, h);
    x[v + 1] = _mm_unpackhi_epi64(l, h);
  }
#pragma GCC unroll 8
  for (int v = 0; v < kAtOnce; ++v) y[v] = x[v] ^ key(0);
#pragma GCC unroll 16
  for (int r = 1; r < kAesRounds; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kAtOnce; ++v) y[v] = _mm_aesenc_si128(y[v], key(r));
#pragma GCC unroll 8
  for (int v = 0; v < kAtOnce; ++v) y[v] = _mm_aesenclast_si128(y[v], key(kAesRounds)) ^ x[v];
#pragma GCC unroll 8
  for (int v = 0; v < kAtOnce; v += 2) {
    _mm_storeu_si128((__m128i*)(out_lo + v), _mm_unpacklo_epi64(y[v], y[v + 1]));
    _mm_storeu_si128((__m128i*)(out_hi + v), _mm_unpackhi_epi64(y[v], y[v + 1]));
  }
}

#include "fss_loops.h"

}  // namespace aesni

extern const FssKernels aesni_kernels;
const FssKernels aesni_kernels = {aesni::generate, aesni::evaluate, aesni::peak};

}  // namespace jsmpc

#include "target_end.h"
#endif
