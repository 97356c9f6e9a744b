// The handlers that XLA calls.
#include "xla/ffi/api/ffi.h"

#include <algorithm>
#include <cstdint>

#include "chacha20.h"
#include "fss.h"
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

// Where an operand lies in its array.
struct Layout {
  int64_t offset, batch_stride, row_stride, col_stride;
};

// Whether all that is read of a rows x cols operand lies in its array.
bool lies_within(const Layout& at, int64_t batch, int64_t rows, int64_t cols, int64_t size) {
  if (at.offset < 0 || at.batch_stride < 0 || at.row_stride < 0 || at.col_stride < 0 ||
      rows < 0 || cols < 0)
    return false;
  if (!batch || !rows || !cols) return true;
  using Wide = __int128;  // a product of any two numbers fits
  return at.offset + (batch - 1) * Wide(at.batch_stride) + (rows - 1) * Wide(at.row_stride) +
             (cols - 1) * Wide(at.col_stride) < size;
}

template <class T>
bool bind(typename Gemm<T>::Operand& operand, const ffi::AnyBuffer& buffer, const Layout& at,
          int64_t rows, int64_t cols, const Gemm<T>& gemm) {
  if (buffer.element_type() != (sizeof(T) == 4 ? ffi::U32 : ffi::U64) ||
      !lies_within(at, gemm.batch(), rows, cols, buffer.element_count()))
    return false;
  operand.data = buffer.typed_data<T>() + at.offset;
  operand.row_stride = at.row_stride;
  operand.col_stride = at.col_stride;
  operand.batch_stride[0] = at.batch_stride;
  return true;
}

template <class T>
ffi::Error multiply(ffi::ThreadPool pool, ffi::RemainingArgs operands, int64_t depth,
                    ffi::Span<const int64_t> layouts, ffi::AnyBuffer& out) {
  const auto dims = out.dimensions();
  const int terms = int(operands.size()) / 2;
  if (operands.size() % 2 || terms < 1 || terms > kMaxTerms || dims.size() != 3 ||
      layouts.size() * sizeof(int64_t) != operands.size() * sizeof(Layout))
    return ffi::Error::InvalidArgument("too many terms, or not a layout for each operand");
  const Layout* at = reinterpret_cast<const Layout*>(layouts.begin());
  Gemm<T> gemm{};
  gemm.batch_dims = 1;
  gemm.batch_shape[0] = dims[0];
  gemm.rows = dims[1];
  gemm.cols = dims[2];
  gemm.depth = depth;
  gemm.c = out.typed_data<T>();
  gemm.terms = terms;
  for (int t = 0; t < terms; ++t) {
    const auto a = operands.get<ffi::AnyBuffer>(2 * t);
    const auto b = operands.get<ffi::AnyBuffer>(2 * t + 1);
    if (!a || !b || !bind(gemm.a[t], *a, at[2 * t], gemm.rows, depth, gemm) ||
        !bind(gemm.b[t], *b, at[2 * t + 1], depth, gemm.cols, gemm))
      return ffi::Error::InvalidArgument("operands do not fit the product");
  }
  const GemmPlan<T> plan(gemm, pool.num_threads());
  parallel_for(pool, plan.tasks(), plan.grain(),
               [&](int64_t task) { plan.run(task); });
  return ffi::Error::Success();
}

// a, b, a, b, ... -> sum of the products
ffi::Error matmul(ffi::ThreadPool pool, ffi::RemainingArgs operands,
                  ffi::Result<ffi::AnyBuffer> out, int64_t depth,
                  ffi::Span<const int64_t> layouts) {
  switch (out->element_type()) {
    case ffi::U32:
      return multiply<uint32_t>(pool, operands, depth, layouts, *out);
    case ffi::U64:
      return multiply<uint64_t>(pool, operands, depth, layouts, *out);
    default:
      return ffi::Error::InvalidArgument("uint32 or uint64 only");
  }
}

constexpr int64_t kTaskElements = 1024;

using Words = ffi::Buffer<ffi::U64>;

// Trees of n functions each, in batches one after another.
struct Trees {
  int64_t batch, n, width;
  bool comparison;

  // Words of a batch.
  int64_t seeds() const { return 2 * n; }
  int64_t corrections() const { return (levels_of(int(width), comparison) + 1) * 2 * n; }

  bool sound(int64_t seed_words, int64_t correction_words) const {
    return width >= 1 && width <= 64 - comparison && seed_words == batch * seeds() &&
           correction_words == batch * corrections();
  }

  // Calls body(batch, first, last) for elements first..last of every batch.
  template <class Body>
  void each(ffi::ThreadPool& pool, const Body& body) const {
    const int64_t tasks = (n + kTaskElements - 1) / kTaskElements;
    parallel_for(pool, batch * tasks, 1, [&](int64_t task) {
      const int64_t begin = task % tasks * kTaskElements;
      body(task / tasks, begin, std::min(begin + kTaskElements, n));
    });
  }
};

// seeds [batch, 2, n] of either party, alpha [batch, n] -> corrections [batch, levels + 1, 2, n]
ffi::Error function_keys(ffi::ThreadPool pool, Words first, Words second, Words alpha,
                         ffi::Result<Words> corrections, int64_t width, bool comparison) {
  const auto dims = alpha.dimensions();
  if (dims.size() != 2) return ffi::Error::InvalidArgument("points are [batch, n]");
  const Trees trees = {dims[0], dims[1], width, comparison};
  if (!trees.sound(first.element_count(), corrections->element_count()) ||
      second.element_count() != first.element_count())
    return ffi::Error::InvalidArgument("two seeds, a point and a tree for each element");
  trees.each(pool, [&](int64_t batch, int64_t begin, int64_t end) {
    const int64_t seeds = batch * trees.seeds();
    const FunctionKeys keys = {{first.typed_data() + seeds, second.typed_data() + seeds},
                               alpha.typed_data() + batch * trees.n,
                               corrections->typed_data() + batch * trees.corrections(),
                               trees.n,
                               int(width),
                               comparison};
    fss_kernels().generate(keys, begin, end);
  });
  return ffi::Error::Success();
}

// seed [batch, 2, n], corrections [batch, levels + 1, 2, n], x [batch, points, n]
// -> bits or numbers [batch, points, n]
ffi::Error function_values(ffi::ThreadPool pool, Words seed, Words corrections, Words x,
                           ffi::Result<ffi::AnyBuffer> out, int64_t width, bool comparison,
                           int64_t party) {
  const auto dims = x.dimensions();
  if (dims.size() != 3) return ffi::Error::InvalidArgument("points are [batch, points, n]");
  const Trees trees = {dims[0], dims[2], width, comparison};
  if (!trees.sound(seed.element_count(), corrections.element_count()) ||
      out->element_count() != x.element_count() ||
      out->element_type() != (comparison ? ffi::U8 : ffi::U64))
    return ffi::Error::InvalidArgument("a seed and a tree for each element");
  trees.each(pool, [&](int64_t batch, int64_t begin, int64_t end) {
    const int64_t place = batch * dims[1] * trees.n;
    FunctionValues values = {};
    values.seed = seed.typed_data() + batch * trees.seeds();
    values.corrections = corrections.typed_data() + batch * trees.corrections();
    values.x = x.typed_data() + place;
    if (comparison)
      values.bits = out->typed_data<uint8_t>() + place;
    else
      values.numbers = out->typed_data<uint64_t>() + place;
    values.n = trees.n;
    values.points = dims[1];
    values.width = int(width);
    values.party = int(party);
    values.comparison = comparison;
    fss_kernels().evaluate(values, begin, end);
  });
  return ffi::Error::Success();
}

Array bytes_of(const ffi::AnyBuffer& buffer) {
  return {static_cast<uint8_t*>(buffer.untyped_data()), int64_t(buffer.size_bytes())};
}

constexpr size_t kFields = sizeof(Instruction) / sizeof(int64_t);
constexpr size_t kPlaces = sizeof(Register) / sizeof(int64_t);

// operands... -> results...
ffi::Error program(ffi::ThreadPool pool, ffi::RemainingArgs operands,
                   ffi::RemainingRets results,
                   ffi::Span<const int64_t> instructions,
                   ffi::Span<const int64_t> registers, int64_t elements) {
  Program p;
  p.instructions = reinterpret_cast<const Instruction*>(instructions.begin());
  p.count = instructions.size() / kFields;
  p.registers = reinterpret_cast<const Register*>(registers.begin());
  p.register_count = registers.size() / kPlaces;
  p.elements = elements;
  for (size_t i = 0; i < operands.size(); ++i)
    p.operands.push_back(bytes_of(*operands.get<ffi::AnyBuffer>(i)));
  for (size_t i = 0; i < results.size(); ++i)
    p.results.push_back(bytes_of(**results.get<ffi::AnyBuffer>(i)));
  if (instructions.size() % kFields || registers.size() % kPlaces || !p.sound())
    return ffi::Error::InvalidArgument("a program that reads or writes beyond its arrays");
  run(p, pool);
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jsmpc

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT XLA_FFI_Error* jsmpc_keystream(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_matmul(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_program(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_function_keys(XLA_FFI_CallFrame*);
EXPORT XLA_FFI_Error* jsmpc_function_values(XLA_FFI_CallFrame*);

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
                                  .Attr<int64_t>("depth")
                                  .Attr<xla::ffi::Span<const int64_t>>("layouts"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_program, jsmpc::program,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("instructions")
                                  .Attr<xla::ffi::Span<const int64_t>>("registers")
                                  .Attr<int64_t>("elements"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_function_keys, jsmpc::function_keys,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Attr<int64_t>("width")
                                  .Attr<bool>("comparison"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_function_values, jsmpc::function_values,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U64>>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<int64_t>("width")
                                  .Attr<bool>("comparison")
                                  .Attr<int64_t>("party"));
