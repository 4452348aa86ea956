#include "common/instruction_set.h"
#include "masked_linear/cpu/kernels.h"

namespace prunesweep {

extern const Kernels portable_kernels;

#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

const Kernels& kernels() {
#if defined(__x86_64__)
  static const Kernels& chosen = instruction_set() == InstructionSet::avx512 ? avx512_kernels
      : instruction_set() == InstructionSet::avx2                            ? avx2_kernels
                                                                             : portable_kernels;
  return chosen;
#else
  return portable_kernels;
#endif
}

} // namespace prunesweep
