// The kernels of the masked linear layer, for AVX-512.

#include "masked_linear/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")

namespace prunesweep {
namespace {

#define LANES 16
#define REGISTERS 8
#define STREAM(p, v) _mm512_stream_ps(p, v)
#define STREAM_END _mm_sfence()
#include "masked_linear/cpu/kernels.inc"

} // namespace

extern const Kernels avx512_kernels;
const Kernels avx512_kernels{to_block, from_block, stream_block, multiply, multiply_first, sample, sum};

} // namespace prunesweep

#endif
