#include "program.h"

#include <algorithm>
#include <cstring>

#include "kernels.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_ISA \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_ISA
#endif
#define INLINE __attribute__((always_inline)) inline

namespace jsmpc {
namespace {

constexpr int kBlock = 1024;        // elements in a register
constexpr int kTileBlocks = 16;     // ChaCha20 blocks in a tile of a stream
constexpr int kTileBytes = 64 * kTileBlocks;
constexpr int64_t kTask = 8;        // blocks that a thread claims at once

template <class T, class F>
INLINE void apply(void* out, const void* a, const void* b, int n, F f) {
  T* o = static_cast<T*>(out);
  const T *x = static_cast<const T*>(a), *y = static_cast<const T*>(b);
#pragma GCC ivdep
  for (int i = 0; i < n; ++i) o[i] = f(x[i], y[i]);
}

template <class T, class F>
INLINE void apply(void* out, const void* a, int n, F f) {
  T* o = static_cast<T*>(out);
  const T* x = static_cast<const T*>(a);
#pragma GCC ivdep
  for (int i = 0; i < n; ++i) o[i] = f(x[i]);
}

template <class T, class From>
INLINE void convert(void* out, const void* a, int n) {
  T* o = static_cast<T*>(out);
  const From* x = static_cast<const From*>(a);
  if (sizeof(T) == sizeof(From)) {
    if (out != a) std::memmove(out, a, n * sizeof(T));
    return;
  }
#pragma GCC ivdep
  for (int i = 0; i < n; ++i) o[i] = T(x[i]);
}

template <class T>
INLINE void execute(const Instruction& in, void* o, const void* a, const void* b, int n) {
  const T c = T(in.constant);
  constexpr T kBits = sizeof(T) * 8;
  using Wide = decltype(T() + 0u);  // a product of two uint16_t may overflow int
  switch (in.op) {
    case kAdd: return apply<T>(o, a, b, n, [](T x, T y) { return T(x + y); });
    case kSub: return apply<T>(o, a, b, n, [](T x, T y) { return T(x - y); });
    case kMul: return apply<T>(o, a, b, n, [](T x, T y) { return T(Wide(x) * y); });
    case kAnd: return apply<T>(o, a, b, n, [](T x, T y) { return T(x & y); });
    case kOr: return apply<T>(o, a, b, n, [](T x, T y) { return T(x | y); });
    case kXor: return apply<T>(o, a, b, n, [](T x, T y) { return T(x ^ y); });
    case kShiftLeft:
      return apply<T>(o, a, b, n, [](T x, T y) { return y < kBits ? T(x << y) : T(0); });
    case kShiftRight:
      return apply<T>(o, a, b, n, [](T x, T y) { return y < kBits ? T(x >> y) : T(0); });
    case kDiv: return apply<T>(o, a, b, n, [](T x, T y) { return y ? T(x / y) : T(~T(0)); });
    case kAddConstant: return apply<T>(o, a, n, [=](T x) { return T(x + c); });
    case kMulConstant: return apply<T>(o, a, n, [=](T x) { return T(Wide(x) * c); });
    case kAndConstant: return apply<T>(o, a, n, [=](T x) { return T(x & c); });
    case kOrConstant: return apply<T>(o, a, n, [=](T x) { return T(x | c); });
    case kXorConstant: return apply<T>(o, a, n, [=](T x) { return T(x ^ c); });
    case kShiftLeftConstant: return apply<T>(o, a, n, [=](T x) { return T(x << c); });
    case kShiftRightConstant: return apply<T>(o, a, n, [=](T x) { return T(x >> c); });
    case kDivConstant: return apply<T>(o, a, n, [=](T x) { return T(x / c); });
    case kNegate: return apply<T>(o, a, n, [](T x) { return T(T(0) - x); });
    case kNot: return apply<T>(o, a, n, [](T x) { return T(~x); });
    case kConvert:
      switch (in.constant) {
        case 0: return convert<T, uint8_t>(o, a, n);
        case 1: return convert<T, uint16_t>(o, a, n);
        case 2: return convert<T, uint32_t>(o, a, n);
        case 3: return convert<T, uint64_t>(o, a, n);
      }
      return;
    case kConstant: std::fill_n(static_cast<T*>(o), n, c);
  }
}

// Elements first, first + 1, ... of the draw `number` under a key.
void draw(const uint32_t* key, int64_t number, int64_t type, int64_t first, uint8_t* out,
          int n) {
  const uint32_t nonce[3] = {uint32_t(number), uint32_t(number >> 32), 0};
  const int64_t begin = (first << type) / kTileBytes;
  const int64_t bytes = int64_t(n) << type, tiles = bytes / kTileBytes;
  uint32_t* words = reinterpret_cast<uint32_t*>(out);
  kernels().draw(key, nonce, words, begin, tiles);
  if (const int64_t rest = bytes - tiles * kTileBytes) {
    alignas(64) uint32_t tile[kTileBytes / 4];
    kernels().draw(key, nonce, tile, begin + tiles, 1);
    std::memcpy(out + tiles * kTileBytes, tile, rest);
  }
}

FOR_EACH_ISA void run_block(const Program& p, void* const* at, int64_t first, int n) {
  for (int64_t k = 0; k < p.count; ++k) {
    const Instruction& in = p.instructions[k];
    void* o = at[in.result];
    if (in.op == kDraw) {
      const auto* key = reinterpret_cast<const uint32_t*>(p.operands[in.a].data) + in.b;
      draw(key, in.constant, in.type, first, static_cast<uint8_t*>(o), n);
      continue;
    }
    const void *a = at[in.a], *b = at[in.b];
    switch (in.type) {
      case 0: execute<uint8_t>(in, o, a, b, n); break;
      case 1: execute<uint16_t>(in, o, a, b, n); break;
      case 2: execute<uint32_t>(in, o, a, b, n); break;
      case 3: execute<uint64_t>(in, o, a, b, n); break;
    }
  }
}

template <class T>
void splat(void* out, const void* scalar) {
  std::fill_n(static_cast<T*>(out), kBlock, *static_cast<const T*>(scalar));
}

// Registers of a thread: their addresses for the block that begins at `first`.
class Registers {
 public:
  explicit Registers(const Program& p) : p_(p), at_(p.register_count) {
    int64_t scratch = 0;
    for (int64_t r = 0; r < p.register_count; ++r)
      if (p.registers[r].place <= kScalar && p.registers[r].place != kOperand)
        scratch += bytes(r);
    uint8_t* memory = static_cast<uint8_t*>(workspace(scratch));
    for (int64_t r = 0; r < p.register_count; ++r) {
      const Register& reg = p.registers[r];
      if (reg.place != kScratch && reg.place != kScalar) continue;
      at_[r] = memory;
      memory += bytes(r);
      if (reg.place == kScratch) continue;
      const void* value = p.operands[reg.index].data + (reg.offset << reg.type);
      if (reg.type == 0) splat<uint8_t>(at_[r], value);
      if (reg.type == 1) splat<uint16_t>(at_[r], value);
      if (reg.type == 2) splat<uint32_t>(at_[r], value);
      if (reg.type == 3) splat<uint64_t>(at_[r], value);
    }
  }

  void* const* block(int64_t first) {
    for (int64_t r = 0; r < p_.register_count; ++r) {
      const Register& reg = p_.registers[r];
      const int64_t offset = (first + reg.offset) << reg.type;
      if (reg.place == kOperand) at_[r] = p_.operands[reg.index].data + offset;
      if (reg.place == kResult) at_[r] = p_.results[reg.index].data + offset;
    }
    return at_.data();
  }

 private:
  int64_t bytes(int64_t r) const { return int64_t(kBlock) << p_.registers[r].type; }

  const Program& p_;
  std::vector<void*> at_;
};

constexpr int64_t kMany = int64_t(1) << 48;  // no array has so many elements

bool within(int64_t x, int64_t end) { return 0 <= x && x < end; }

// Whether so many elements of a type, from an offset on, lie in one of some arrays.
bool lies_in(const std::vector<Array>& arrays, int64_t index, int64_t offset, int64_t elements,
             int64_t type) {
  return within(index, arrays.size()) && within(offset, kMany) &&
         (offset + elements) << type <= arrays[index].bytes;
}

bool sound(const Program& p, const Register& r) {
  if (!within(r.type, 4)) return false;
  switch (r.place) {
    case kScratch: return true;
    case kOperand: return lies_in(p.operands, r.index, r.offset, p.elements, r.type);
    case kScalar: return lies_in(p.operands, r.index, r.offset, 1, r.type);
    case kResult: return lies_in(p.results, r.index, r.offset, p.elements, r.type);
  }
  return false;
}

bool sound(const Program& p, const Instruction& in) {
  const auto is = [&](int64_t r, int64_t type) {
    return within(r, p.register_count) && p.registers[r].type == type;
  };
  const int64_t bits = int64_t(8) << in.type;
  if (!within(in.op, kOps) || !within(in.type, 4) || !is(in.result, in.type)) return false;
  if (p.registers[in.result].place == kOperand || p.registers[in.result].place == kScalar)
    return false;
  if (in.op == kDraw) return lies_in(p.operands, in.a, in.b, 8, 2);
  if (!within(in.a, p.register_count) || !within(in.b, p.register_count)) return false;
  if (in.op == kConvert) return within(in.constant, 4) && is(in.a, in.constant);
  if (in.op == kConstant) return true;
  if (!is(in.a, in.type)) return false;
  if (in.op <= kDiv) return is(in.b, in.type);
  if (in.op == kShiftLeftConstant || in.op == kShiftRightConstant) return within(in.constant, bits);
  return in.op != kDivConstant || uint64_t(in.constant) << (64 - bits) != 0;
}

constexpr int64_t blocks_of(int64_t elements) { return (elements + kBlock - 1) / kBlock; }

}  // namespace

bool Program::sound() const {
  if (!within(elements, kMany)) return false;
  for (int64_t r = 0; r < register_count; ++r)
    if (!jsmpc::sound(*this, registers[r])) return false;
  for (int64_t k = 0; k < count; ++k)
    if (!jsmpc::sound(*this, instructions[k])) return false;
  return true;
}

int64_t Program::tasks() const { return (blocks_of(elements) + kTask - 1) / kTask; }

void Program::run(int64_t task) const {
  Registers state(*this);
  const int64_t end = std::min((task + 1) * kTask, blocks_of(elements));
  for (int64_t b = task * kTask; b < end; ++b) {
    const int64_t first = b * kBlock;
    run_block(*this, state.block(first), first, int(std::min<int64_t>(kBlock, elements - first)));
  }
}

}  // namespace jsmpc
