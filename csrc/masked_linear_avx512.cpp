// The kernels of the masked linear layer, for AVX-512.

#include "masked_linear_kernels.h"

#if defined(__x86_64__)

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

namespace prunesweep {
namespace {

#define LANES 16
#define REGISTERS 8
#include "masked_linear_kernels.inc"

} // namespace

extern const Kernels avx512_kernels;
const Kernels avx512_kernels{"avx512", to_block, from_block, multiply, sample, sum};

} // namespace prunesweep

#endif
