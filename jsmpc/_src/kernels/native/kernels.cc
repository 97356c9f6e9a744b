#include "kernels.h"

#include <cstdlib>
#include <memory>
#include <new>

namespace jsmpc {

extern const Kernels portable_kernels;
#ifdef __x86_64__
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

namespace {

const Kernels* table(Isa isa) {
#ifdef __x86_64__
  if (isa == Isa::kAvx512) return &avx512_kernels;
  if (isa == Isa::kAvx2) return &avx2_kernels;
#endif
  return &portable_kernels;
}

Isa best() {
  if (supported(Isa::kAvx512)) return Isa::kAvx512;
  return supported(Isa::kAvx2) ? Isa::kAvx2 : Isa::kPortable;
}

// What a test chose, or the best.
Isa& current() {
  static Isa isa = best();
  return isa;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

bool supported(Isa isa) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (isa == Isa::kAvx512)
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
  if (isa == Isa::kAvx2) return __builtin_cpu_supports("avx2");
#endif
  return isa == Isa::kPortable;
}

void select(Isa isa) { current() = isa; }

Isa selected() { return current(); }

const Kernels& kernels() { return *table(current()); }

void* workspace(int64_t bytes) {
  constexpr int64_t kLine = 64;
  thread_local std::unique_ptr<void, Free> memory;
  thread_local int64_t capacity = 0;
  if (bytes > capacity) {
    memory.reset();
    capacity = 0;
    const int64_t rounded = (bytes + kLine - 1) / kLine * kLine;
    memory.reset(std::aligned_alloc(kLine, rounded));
    if (!memory) throw std::bad_alloc();
    capacity = rounded;
  }
  return memory.get();
}

}  // namespace jsmpc
