// Which algorithm computes each product of the masked linear layer: a function of sizes, dtype and mask only, so of
// nothing that could differ from run to run.

#pragma once

#include "masked_linear/cpu/mask_plan.h"

namespace prunesweep {

enum class Algorithm { kDense, kSparse };

struct Algorithms {
  Algorithm output, grad_input, grad_weight;
};

// Whether the mask is large enough for a plan to pay off
bool worth_a_plan(const at::Tensor& mask);

// `rows` is x or grad as [N, features]; without a plan all are dense.
Algorithms choose_algorithms(const Plan* plan, const at::Tensor& rows);

// Whether the sparse algorithm in float32 is faster than bfloat16, which only the dense one supports.
bool better_in_float32(const at::Tensor& mask);

} // namespace prunesweep
