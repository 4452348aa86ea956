// The three products of the masked linear layer on the CPU, each by whichever algorithm is faster for its sizes and
// mask.
//
// Arguments as in checks.h, checked already.

#pragma once

#include <ATen/core/Tensor.h>

namespace prunesweep {

struct Output {
  at::Tensor y;
  at::Tensor masked; // the masked weight, if the gradient of x will need it; else undefined
};

// bias may be undefined
Output masked_linear_output(
    const at::Tensor& x, const at::Tensor& weight, const at::Tensor& mask, const at::Tensor& bias);

struct Gradients {
  at::Tensor x, weight, bias;
};

struct Wanted {
  bool x, weight, bias;
};

// `weight` is needed for the gradient of x, `x` for that of the weight. `masked` is what masked_linear_output returned,
// or undefined.
Gradients masked_linear_gradients(
    const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& mask,
    const at::Tensor& masked, Wanted wanted);

} // namespace prunesweep
