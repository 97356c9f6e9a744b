#include "fss.h"

namespace jsmpc {

extern const FssKernels portable_fss_kernels;
#ifdef __x86_64__
extern const FssKernels aesni_kernels;
extern const FssKernels vaes_kernels;
#endif

// AES instructions come apart from those that the sets are named after.
const FssKernels& fss_kernels() {
#ifdef __x86_64__
  __builtin_cpu_init();
  const Isa isa = selected();
  if (isa == Isa::kAvx512 && __builtin_cpu_supports("vaes")) return vaes_kernels;
  if (isa != Isa::kPortable && __builtin_cpu_supports("aes")) return aesni_kernels;
#endif
  return portable_fss_kernels;
}

}  // namespace jsmpc
