// The products of the masked linear layer with the kept weights alone, float32, on blocks of rows of x.
//
// Every number is summed by one thread in an order that depends on the sizes and the mask only, so results are the same
// bits for any number of threads.

#pragma once

#include "masked_linear/cpu/mask_plan.h"

#include <tuple>

namespace prunesweep {

// x [N, in] -> y [N, out]; weight [out, in], bias [out] or undefined. All contiguous, here and below.
at::Tensor sparse_output(
    const Pattern& by_output, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

struct SparseGradients {
  at::Tensor x, weight, bias; // those that were requested
};

// grad [N, out]. The gradient of x needs by_input and weight, that of the weight by_output and x; a null pattern means
// that the gradient is not requested.
SparseGradients sparse_gradients(
    const at::Tensor& grad, const Pattern* by_input, const at::Tensor& weight, const Pattern* by_output,
    const at::Tensor& x, bool bias);

} // namespace prunesweep
