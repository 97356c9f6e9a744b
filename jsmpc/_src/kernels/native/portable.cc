#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels.h"

namespace jsmpc {
namespace portable {

template <class T>
struct Lanes {
  typedef T Vec __attribute__((vector_size(16)));
  using Sum = Vec;
  static constexpr int kTileRows = 4, kTileVectors = 2;

  static void add_product(Sum& sum, Vec x, Vec y) { sum += x * y; }
  static Vec value(Sum sum) { return sum; }
};

typedef uint32_t Words __attribute__((vector_size(16)));
constexpr int kVectors = 1;

template <int n>
inline Words rotate(Words x) {
  return x << n | x >> (32 - n);
}

#include "chacha20_loops.h"
#include "compare_loops.h"
#include "gemm_loops.h"
#include "peak_loops.h"

}  // namespace portable

extern const Kernels portable_kernels;
const Kernels portable_kernels = {
    portable::gemm<uint32_t>, portable::gemm<uint64_t>, portable::keystream,
    portable::draw,           portable::peak_gemm,      portable::peak_keystream,
    portable::compare};

}  // namespace jsmpc
