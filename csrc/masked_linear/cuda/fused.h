// The three products of the masked linear layer for few rows, where reading the weight is what they cost: the mask is
// applied while the weight streams through, and W∘M is never written. W∘M is W with exact zeros where the mask is
// false, whatever W holds there.
//
// All matrices are row-major and contiguous, at any address that their elements may have. The mask is packed: bit j of
// word w of a row is column 32 w + j; a row has ceil(in / 32) words, and the bits of the last word beyond the last
// column are 0.
//
// Sums are float32, and each result is rounded once. With `tf32` the operands of float32 products are rounded to TF32
// first. The same arguments give the same bits on the same kind of device.

#pragma once

#include "common/cuda/runtime.h"

#include <cstdint>

namespace prunesweep::cuda {

// Whether the kernels support it, not whether they are the fastest. The sizes are positive; the caller handles empty
// ones.
bool fused_supports(Dtype dtype, int64_t rows, int64_t n_in, int64_t n_out);

// y [rows, out] = x [rows, in] (W∘M)^T + bias [out], which may be null
void fused_output(
    const void* x, const void* weight, const uint32_t* bits, const void* bias, void* y, int64_t rows, int64_t n_in,
    int64_t n_out, Dtype dtype, bool tf32, const Allocate& scratch, cudaStream_t stream);

// grad_x [rows, in] = grad [rows, out] (W∘M)
void fused_grad_input(
    const void* grad, const void* weight, const uint32_t* bits, void* grad_x, int64_t rows, int64_t n_in, int64_t n_out,
    Dtype dtype, bool tf32, const Allocate& scratch, cudaStream_t stream);

// grad_weight [out, in] = M∘(grad^T x), and grad_bias [out], which may be null, the sum of grad over its rows
void fused_grad_weight(
    const void* grad, const void* x, const uint32_t* bits, void* grad_weight, void* grad_bias, int64_t rows,
    int64_t n_in, int64_t n_out, Dtype dtype, bool tf32, cudaStream_t stream);

} // namespace prunesweep::cuda
