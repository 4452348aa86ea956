// The kernels of the masked linear layer for any machine.

#include "masked_linear/cpu/kernels.h"

namespace prunesweep {
namespace {

#define LANES 4
#define REGISTERS 8
#include "masked_linear/cpu/kernels.inc"

} // namespace

extern const Kernels portable_kernels;
const Kernels portable_kernels{to_block, from_block, stream_block, multiply, multiply_first, sample, sum};

} // namespace prunesweep
