#ifdef __x86_64__
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels.h"

#define JSMPC_TARGET "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"
#include "target_begin.h"

namespace jsmpc {
namespace avx512 {

template <class T>
struct Lanes {
  typedef T Vec __attribute__((vector_size(64)));
  using Sum = Vec;
  static constexpr int kTileRows = 8, kTileVectors = 2;

  static void add_product(Sum& sum, Vec x, Vec y) { sum += x * y; }
  static Vec value(Sum sum) { return sum; }
};

typedef uint32_t Words __attribute__((vector_size(64)));
constexpr int kVectors = 2;

template <int n>
inline Words rotate(Words x) {
  return x << n | x >> (32 - n);
}

#include "chacha20_loops.h"
#include "compare_loops.h"
#include "gemm_loops.h"
#include "peak_loops.h"

}  // namespace avx512

extern const Kernels avx512_kernels;
const Kernels avx512_kernels = {avx512::gemm<uint32_t>, avx512::gemm<uint64_t>,
                                avx512::keystream,      avx512::draw,
                                avx512::peak_gemm,      avx512::peak_keystream,
    avx512::compare};

}  // namespace jsmpc

#include "target_end.h"
#endif
