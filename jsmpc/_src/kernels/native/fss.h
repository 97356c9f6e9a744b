// Keys of point and comparison functions, and what they evaluate to: see
// jsmpc/_src/kernels/fss.py, which says what is computed. Blocks of 128 bits are two words, the
// low one first, and lie apart: [..., 2, n].
#pragma once

#include <cstdint>

#include "kernels.h"

namespace jsmpc {

// The bits of a point that a leaf is for: its block has 2^7 bits, or 2 numbers.
constexpr int leaf_bits(bool comparison) { return comparison ? 7 : 1; }

constexpr int levels_of(int width, bool comparison) {
  return width > leaf_bits(comparison) ? width - leaf_bits(comparison) : 0;
}

struct FunctionKeys {
  const uint64_t* seeds[2];  // [2, n] of each party
  const uint64_t* alpha;     // [n]
  uint64_t* corrections;     // [levels + 1, 2, n]
  int64_t n;
  int width;
  bool comparison;
};

struct FunctionValues {
  const uint64_t* seed;         // [2, n]
  const uint64_t* corrections;  // [levels + 1, 2, n]
  const uint64_t* x;            // [points, n]
  uint8_t* bits;                // [points, n] of comparisons
  uint64_t* numbers;            // [points, n] of points
  int64_t n, points;
  int width, party;
  bool comparison;
};

struct FssKernels {
  void (*generate)(const FunctionKeys&, int64_t first, int64_t last);
  void (*evaluate)(const FunctionValues&, int64_t first, int64_t last);
  Work (*peak)(int64_t rounds);
};

const FssKernels& fss_kernels();  // of the selected instruction set

}  // namespace jsmpc
