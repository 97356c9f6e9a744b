// The handlers that XLA calls.
#include "xla/ffi/api/ffi.h"

#include <algorithm>
#include <cstdint>

#include "chacha20.h"
#include "gemm.h"
#include "kernels.h"
#include "parallel.h"
#include "program.h"

namespace jsmpc {
namespace {

namespace ffi = xla::ffi;

constexpr int64_t kTaskBlocks = 1024;

int64_t product(ffi::Span<const int64_t> dims) {
  int64_t n = 1;
  for (int64_t d : dims) n *= d;
  return n;
}

// key [batch..., 8], nonce [batch..., 3] -> out [batch..., 16, blocks]
ffi::Error keystream(ffi::ThreadPool pool, ffi::Buffer<ffi::U32> key,
                     ffi::Buffer<ffi::U32> nonce,
                     ffi::Result<ffi::Buffer<ffi::U32>> out) {
  const auto dims = out->dimensions();
  const int64_t rank = dims.size();
  if (rank < 2 || dims[rank - 2] != 16)
    return ffi::Error::InvalidArgument("the keystream is [..., 16, blocks]");
  const int64_t blocks = dims[rank - 1];
  const int64_t batch = product(dims.first(rank - 2));
  if (int64_t(key.element_count()) != batch * 8 ||
      int64_t(nonce.element_count()) != batch * 3)
    return ffi::Error::InvalidArgument("one key and one nonce for each entry");

  const int64_t tasks = (blocks + kTaskBlocks - 1) / kTaskBlocks;
  const int64_t grain = blocks ? (kTaskBlocks - 1) / blocks + 1 : 1;
  parallel_for(pool, batch * tasks, grain, [&](int64_t task) {
    const int64_t entry = task / tasks, first = task % tasks * kTaskBlocks;
    const Keystream stream = {
        key.typed_data() + entry * 8, nonce.typed_data() + entry * 3,
        out->typed_data() + entry * 16 * blocks, blocks};
    kernels().keystream(stream, first, std::min(first + kTaskBlocks, blocks));
  });
  return ffi::Error::Success();
}

// A row-major operand [batch..., rows, cols], or [batch..., cols, rows] where
// transposed; a batch dimension of 1 is broadcast.
template <class T>
bool bind(typename Gemm<T>::Operand& operand, const ffi::AnyBuffer& buffer,
          bool transposed, int64_t rows, int64_t cols, const Gemm<T>& gemm) {
  const auto dims = buffer.dimensions();
  const int batch_dims = gemm.batch_dims;
  if (buffer.element_type() != (sizeof(T) == 4 ? ffi::U32 : ffi::U64) ||
      int(dims.size()) != batch_dims + 2 ||
      dims[batch_dims + transposed] != rows ||
      dims[batch_dims + !transposed] != cols)
    return false;
  operand.data = buffer.typed_data<T>();
  operand.row_stride = transposed ? 1 : cols;
  operand.col_stride = transposed ? rows : 1;
  int64_t stride = rows * cols;
  for (int d = batch_dims - 1; d >= 0; --d) {
    if (dims[d] != 1 && dims[d] != gemm.batch_shape[d]) return false;
    operand.batch_stride[d] = dims[d] == 1 ? 0 : stride;
    stride *= dims[d];
  }
  return true;
}

template <class T>
ffi::Error multiply(ffi::ThreadPool pool, ffi::RemainingArgs operands,
                    bool transpose_a, bool transpose_b, ffi::AnyBuffer& out) {
  const auto dims = out.dimensions();
  const int batch_dims = int(dims.size()) - 2;
  const int terms = int(operands.size()) / 2;
  if (operands.size() % 2 || terms < 1 || terms > kMaxTerms || batch_dims < 0 ||
      batch_dims > kMaxBatchDims)
    return ffi::Error::InvalidArgument("too many terms or dimensions");
  Gemm<T> gemm{};
  gemm.rows = dims[batch_dims];
  gemm.cols = dims[batch_dims + 1];
  gemm.batch_dims = batch_dims;
  for (int d = 0; d < batch_dims; ++d) gemm.batch_shape[d] = dims[d];
  gemm.c = out.typed_data<T>();
  gemm.terms = terms;
  for (int t = 0; t < terms; ++t) {
    const auto a = operands.get<ffi::AnyBuffer>(2 * t);
    const auto b = operands.get<ffi::AnyBuffer>(2 * t + 1);
    if (!a || !b) return ffi::Error::InvalidArgument("not an array");
    if (t == 0 && int(a->dimensions().size()) == batch_dims + 2)
      gemm.depth = a->dimensions()[batch_dims + !transpose_a];
    if (!bind(gemm.a[t], *a, transpose_a, gemm.rows, gemm.depth, gemm) ||
        !bind(gemm.b[t], *b, transpose_b, gemm.depth, gemm.cols, gemm))
      return ffi::Error::InvalidArgument("operands do not fit the product");
  }
  const GemmPlan<T> plan(gemm, pool.num_threads());
  parallel_for(pool, plan.tasks(), plan.grain(),
               [&](int64_t task) { plan.run(task); });
  return ffi::Error::Success();
}

// a, b, a, b, ... -> sum of the products
ffi::Error matmul(ffi::ThreadPool pool, ffi::RemainingArgs operands,
                  ffi::Result<ffi::AnyBuffer> out, bool transpose_a,
                  bool transpose_b) {
  switch (out->element_type()) {
    case ffi::U32:
      return multiply<uint32_t>(pool, operands, transpose_a, transpose_b, *out);
    case ffi::U64:
      return multiply<uint64_t>(pool, operands, transpose_a, transpose_b, *out);
    default:
      return ffi::Error::InvalidArgument("uint32 or uint64 only");
  }
}

// operands... -> results...
ffi::Error program(ffi::ThreadPool pool, ffi::RemainingArgs operands,
                   ffi::RemainingRets results,
                   ffi::Span<const int64_t> instructions,
                   ffi::Span<const int64_t> registers, int64_t elements) {
  Program p;
  p.instructions = reinterpret_cast<const Instruction*>(instructions.begin());
  p.count = instructions.size() / (sizeof(Instruction) / sizeof(int64_t));
  p.registers = reinterpret_cast<const Register*>(registers.begin());
  p.register_count = registers.size() / (sizeof(Register) / sizeof(int64_t));
  p.elements = elements;
  for (size_t i = 0; i < operands.size(); ++i)
    p.operands.push_back(static_cast<const uint8_t*>(
        operands.get<ffi::AnyBuffer>(i)->untyped_data()));
  for (size_t i = 0; i < results.size(); ++i)
    p.results.push_back(static_cast<uint8_t*>(
        (*results.get<ffi::AnyBuffer>(i))->untyped_data()));
  run(p, pool);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jsmpc

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT XLA_FFI_Error* jsmpc_keystream(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_matmul(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_program(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_keystream, jsmpc::keystream,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::U32>>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_matmul, jsmpc::matmul,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<bool>("transpose_a")
                                  .Attr<bool>("transpose_b"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_program, jsmpc::program,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("instructions")
                                  .Attr<xla::ffi::Span<const int64_t>>("registers")
                                  .Attr<int64_t>("elements"));
