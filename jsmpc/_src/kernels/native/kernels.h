// The loops that are compiled once for each instruction set.
#pragma once

#include <cstdint>

#include "chacha20.h"
#include "compare.h"
#include "gemm.h"

namespace jsmpc {

enum class Isa { kPortable, kAvx2, kAvx512 };

// What a loop on registers did, and a value that depends on all of it.
struct Work {
  int64_t amount;
  uint64_t sink;
};

struct Kernels {
  void (*gemm_u32)(const Block<uint32_t>&);
  void (*gemm_u64)(const Block<uint64_t>&);
  void (*keystream)(const Keystream&, int64_t first, int64_t last);
  void (*draw)(const uint32_t* key, const uint32_t* nonce, uint32_t* out,
               int64_t first_tile, int64_t tiles);
  Work (*peak_gemm)(int64_t rounds);
  Work (*peak_keystream)(int64_t rounds);
  void (*compare)(const Compare&, int64_t at, int count);

  void gemm(const Block<uint32_t>& block) const { gemm_u32(block); }
  void gemm(const Block<uint64_t>& block) const { gemm_u64(block); }
};

bool supported(Isa isa);
void select(Isa isa);      // for tests: the best one is selected at load
Isa selected();
const Kernels& kernels();  // of the selected instruction set

// Scratch memory of the calling thread, aligned to a cache line.
void* workspace(int64_t bytes);

}  // namespace jsmpc
