// The handler of the comparison.
#include "compare.h"

#include "xla/ffi/api/ffi.h"

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"

namespace jsmpc {
namespace {

namespace ffi = xla::ffi;
using Bytes = ffi::Buffer<ffi::U8>;

constexpr int64_t kGrain = 32;  // strips

// x [k, ...], v [...], how [...], place [...], factor [k, ...], mask [k, ...] -> out [k, ...]
ffi::Error compare(ffi::ThreadPool pool, Bytes x, ffi::AnyBuffer v, Bytes how, Bytes place,
                   Bytes factor, Bytes mask, ffi::Result<Bytes> out, int64_t first) {
  const int64_t bits = v.element_type() == ffi::U64 ? 64 : 32;
  const int64_t elements = v.element_count(), all = bits * elements;
  if ((bits == 32 && v.element_type() != ffi::U32) || int64_t(how.element_count()) != elements ||
      int64_t(place.element_count()) != elements || int64_t(x.element_count()) != all ||
      int64_t(factor.element_count()) != all || int64_t(mask.element_count()) != all ||
      int64_t(out->element_count()) != all)
    return ffi::Error::InvalidArgument("a row for each bit of uint32 or uint64");
  const Compare c = {x.typed_data(),      v.untyped_data(),   how.typed_data(),
                     place.typed_data(),  factor.typed_data(), mask.typed_data(),
                     out->typed_data(),   bits,                elements,
                     first != 0};
  parallel_for(pool, (elements + kStrip - 1) / kStrip, kGrain, [&](int64_t strip) {
    const int64_t at = strip * kStrip;
    kernels().compare(c, at, int(std::min<int64_t>(kStrip, elements - at)));
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jsmpc

extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* jsmpc_compare(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_compare, jsmpc::compare,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::U8>>()
                                  .Attr<int64_t>("first"));
