// Keys of point and comparison functions, and what they evaluate to: see
// jsmpc/_src/kernels/fss.py, which says what is computed. Blocks of 128 bits are two words, the
// low one first, and lie apart: [..., 2, n].
#pragma once

#include <cstdint>

#include "kernels.h"

namespace jsmpc {

constexpr int kLeafBits = 7;  // a leaf's block has a bit for each of 2^7 points

constexpr int levels_of(int width) { return width > kLeafBits ? width - kLeafBits : 0; }

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
  uint8_t* out;                 // [points, n]
  int64_t n, points;
  int width, party;
};

struct FssKernels {
  void (*generate)(const FunctionKeys&, int64_t first, int64_t last);
  void (*evaluate)(const FunctionValues&, int64_t first, int64_t last);
  Work (*peak)(int64_t rounds);
};

const FssKernels& fss_kernels();  // of the selected instruction set

}  // namespace jsmpc
