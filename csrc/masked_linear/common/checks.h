// y = x (W∘M)^T + b, where W∘M is W with exact zeros where M is false, whatever W holds there.
//
// Checks of the arguments, shared by all devices and by the shape-only kernels in prune/ops.py. Each raises an error
// that names the argument, what it has and what it needs. Sizes may be symbolic.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace prunesweep {

// x [..., in], weight [out, in], mask bool [out, in], bias [out]
void check_masked_linear(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& mask, const std::optional<at::Tensor>& bias);

// grad [..., out], weight [out, in], mask bool [out, in]
void check_grad_input(const at::Tensor& grad, const at::Tensor& weight, const at::Tensor& mask);

// grad [..., out], x [..., in] with the same leading sizes, mask bool [out, in]
void check_grad_weight(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& mask);

} // namespace prunesweep
