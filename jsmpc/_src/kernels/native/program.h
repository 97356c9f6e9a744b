// A machine for straight-line programs of elementwise instructions over arrays. It
// runs them block by block, so that what lies between a program's operands and
// its results stays in cache.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel.h"

namespace jsmpc {

// The order is that of jsmpc/kernels/program.py.
enum Op : int64_t {
  kAdd, kSub, kMul, kAnd, kOr, kXor, kShiftLeft, kShiftRight, kDiv,
  kAddConstant, kMulConstant, kAndConstant, kOrConstant, kXorConstant,
  kShiftLeftConstant, kShiftRightConstant, kDivConstant,
  kNegate, kNot, kConvert, kConstant, kDraw, kOps
};

struct Instruction {
  int64_t op;
  int64_t type;      // of the result: log2 of its bytes
  int64_t result;    // registers
  int64_t a, b;      // registers; of a draw: its key's operand and offset
  int64_t constant;  // a constant; a draw's number; the type a conversion is from
};

// Where a register lies: in scratch memory, in an operand, or in a result.
enum Place : int64_t { kScratch, kOperand, kScalar, kResult };
struct Register {
  int64_t place, index, offset, type;
};

struct Array {
  uint8_t* data;
  int64_t bytes;
};

struct Program {
  const Instruction* instructions;
  int64_t count;
  const Register* registers;
  int64_t register_count;
  int64_t elements;
  std::vector<Array> operands, results;

  // Whether all that it reads and writes lies in its arrays and registers: a program may come
  // from anybody.
  bool sound() const;

  // Its parts, in any order and by any thread.
  int64_t tasks() const;
  void run(int64_t task) const;
};

template <class Pool>
void run(const Program& program, Pool& pool) {
  parallel_for(pool, program.tasks(), 1, [&](int64_t task) { program.run(task); });
}

}  // namespace jsmpc
