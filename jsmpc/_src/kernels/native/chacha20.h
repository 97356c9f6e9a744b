// ChaCha20 (RFC 8439), word-major: out[w * blocks + j] is word w of block j.
#pragma once

#include <cstdint>

namespace jsmpc {

struct Keystream {
  const uint32_t* key;    // 8 words
  const uint32_t* nonce;  // 3 words
  uint32_t* out;          // 16 x blocks words
  int64_t blocks;
};

}  // namespace jsmpc
