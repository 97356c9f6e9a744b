// Writes its operands to memory: it does nothing, but XLA cannot fuse across it.
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

// The results share the operands' memory, so nothing is left to do.
ffi::Error materialize(ffi::RemainingArgs, ffi::RemainingRets) {
  return ffi::Error::Success();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) XLA_FFI_Error*
jsmpc_materialize(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_materialize, materialize,
                              xla::ffi::Ffi::Bind().RemainingArgs().RemainingRets());
