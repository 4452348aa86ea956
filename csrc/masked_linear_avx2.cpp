// The kernels of the masked linear layer, for AVX2 with FMA.

#include "masked_linear_kernels.h"

#if defined(__x86_64__)

#pragma GCC target("avx2,fma")

namespace prunesweep {
namespace {

#define LANES 8
#define REGISTERS 8
#include "masked_linear_kernels.inc"

} // namespace

extern const Kernels avx2_kernels;
const Kernels avx2_kernels{"avx2", to_block, from_block, multiply, sample, sum};

} // namespace prunesweep

#endif
