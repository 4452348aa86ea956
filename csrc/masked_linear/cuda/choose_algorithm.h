// Which algorithm computes the products of a masked linear layer on CUDA: a function of sizes, dtype, PyTorch's TF32
// setting and the mask, so of nothing that could differ from run to run.

#pragma once

#include "masked_linear/cuda/mask_plan.h"

namespace prunesweep::cuda {

enum class Algorithm {
  kDense, // the weight is masked into a copy, and cuBLAS does the rest
  kFused, // few rows: the weight is masked while it is read
  kSparse, // few kept weights: only they are read
};

// Whether float32 products may use TF32: torch.backends.cuda.matmul.allow_tf32
bool allows_tf32(const at::Tensor& t);

// For all three products: an algorithm that was faster for one was faster for each of them. `rows` is x or grad as [N,
// features].
Algorithm choose_algorithm(const Plan* plan, const at::Tensor& rows);

} // namespace prunesweep::cuda
