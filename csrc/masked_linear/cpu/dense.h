// The products of the masked linear layer as PyTorch's dense ones, with the weight masked before or the result after.

#pragma once

#include <ATen/core/Tensor.h>

namespace prunesweep {

// out = values where mask is true, else exactly 0: also for NaN and infinities. values and out are contiguous, of one
// dtype, and may be the same tensor.
void apply_mask(const at::Tensor& values, const at::Tensor& mask, const at::Tensor& out);

at::Tensor masked_weight(const at::Tensor& weight, const at::Tensor& mask);

// x [N, in], masked weight [out, in], bias [out] or undefined -> [N, out]
at::Tensor dense_output(const at::Tensor& x, const at::Tensor& masked, const at::Tensor& bias);

// grad [N, out] -> [N, in]
at::Tensor dense_grad_input(const at::Tensor& grad, const at::Tensor& masked);

// grad [N, out], x [N, in] -> [out, in], zero where the mask, if there is one, is false
at::Tensor dense_grad_weight(const at::Tensor& grad, const at::Tensor& x, const at::Tensor* mask);

} // namespace prunesweep
