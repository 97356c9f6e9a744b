// The comparison of words position by position in Z_67; see positions.py.
#pragma once

#include <cstdint>

namespace jsmpc {

// Rows of `elements` bytes, one for each of `bits` positions, the highest first;
// of words, `bits` wide, one an element.
struct Compare {
  const uint8_t* x;
  const void* v;
  const uint8_t* how;  // bit 0: towards less; bit 1: x counts as 0
  const uint8_t* place;
  const uint8_t* factor;
  const uint8_t* mask;
  uint8_t* out;
  int64_t bits, elements;
  bool first;
};

constexpr int kStrip = 64;  // elements computed at once

}  // namespace jsmpc
