// The kernels of the masked linear layer, for AVX2 with FMA.

#include "masked_linear/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma GCC target("avx2,fma")

namespace prunesweep {
namespace {

#define LANES 8
#define REGISTERS 8
#define STREAM(p, v) _mm256_stream_ps(p, v)
#define STREAM_END _mm_sfence()
#include "masked_linear/cpu/kernels.inc"

} // namespace

extern const Kernels avx2_kernels;
const Kernels avx2_kernels{to_block, from_block, stream_block, multiply, multiply_first, sample, sum};

} // namespace prunesweep

#endif
