#ifdef __x86_64__
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels.h"

#define JSMPC_TARGET "avx2"
#include "target_begin.h"

namespace jsmpc {
namespace avx2 {

template <class T>
struct Lanes;

template <>
struct Lanes<uint32_t> {
  typedef uint32_t Vec __attribute__((vector_size(32)));
  using Sum = Vec;
  static constexpr int kTileRows = 4, kTileVectors = 2;

  static void add_product(Sum& sum, Vec x, Vec y) { sum += x * y; }
  static Vec value(Sum sum) { return sum; }
};

// There is no 64-bit product: low halves multiply to 64 bits, and the crossed
// halves, of which 32 bits count, are summed apart.
template <>
struct Lanes<uint64_t> {
  typedef uint64_t Vec __attribute__((vector_size(32)));
  struct Sum {
    __m256i low, crossed;
  };
  static constexpr int kTileRows = 4, kTileVectors = 2;

  static void add_product(Sum& sum, Vec vx, Vec vy) {
    const __m256i x = (__m256i)vx, y = (__m256i)vy;
    const __m256i swapped = _mm256_shuffle_epi32(x, _MM_SHUFFLE(2, 3, 0, 1));
    sum.low = _mm256_add_epi64(sum.low, _mm256_mul_epu32(x, y));
    sum.crossed = _mm256_add_epi32(sum.crossed, _mm256_mullo_epi32(swapped, y));
  }
  static Vec value(Sum sum) {
    const Vec crossed = (Vec)sum.crossed;
    return (Vec)sum.low + (crossed << 32) + (crossed >> 32 << 32);
  }
};

typedef uint32_t Words __attribute__((vector_size(32)));
constexpr int kVectors = 1;

template <int n>
inline Words rotate(Words x) {
  return x << n | x >> (32 - n);
}

template <>
inline Words rotate<16>(Words x) {
  const __m256i order = _mm256_set_epi8(
      13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2,  //
      13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2);
  return (Words)_mm256_shuffle_epi8((__m256i)x, order);
}

template <>
inline Words rotate<8>(Words x) {
  const __m256i order = _mm256_set_epi8(
      14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3,  //
      14, 13, 12, 15, 10, 9, 8, 11, 6, 5, 4, 7, 2, 1, 0, 3);
  return (Words)_mm256_shuffle_epi8((__m256i)x, order);
}

#include "chacha20_loops.h"
#include "compare_loops.h"
#include "gemm_loops.h"
#include "peak_loops.h"

}  // namespace avx2

extern const Kernels avx2_kernels;
const Kernels avx2_kernels = {avx2::gemm<uint32_t>, avx2::gemm<uint64_t>,
                              avx2::keystream,      avx2::draw,
                              avx2::peak_gemm,      avx2::peak_keystream,
    avx2::compare};

}  // namespace jsmpc

#include "target_end.h"
#endif
