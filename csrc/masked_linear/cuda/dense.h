// The products of the masked linear layer as cuBLAS's, with the weight masked before or the gradient after.
//
// Where a size is odd, operands and results are padded (pad.h): the copies cost less than cuBLAS's kernels for such
// sizes.

#pragma once

#include "common/cuda/torch_bridge.h"

namespace prunesweep::cuda {

// One call's products of a layer [out, in]. x is [N, in], grad [N, out]; `masked` is W∘M as masked_weight gives it.
class DenseProducts {
 public:
  // bits: null if all weights are kept
  DenseProducts(
      const OnDevice& device, const uint32_t* bits, int64_t out, int64_t in, const at::Tensor& rows, bool tf32);

  at::Tensor masked_weight(const at::Tensor& weight);

  // Whether a masked weight, possibly of an earlier call, has this call's sizes
  bool fits(const at::Tensor& masked) const {
    return masked.size(0) == padded_out_ && masked.size(1) == padded_in_;
  }

  // bias [out] or undefined -> [N, out]
  at::Tensor output(const at::Tensor& x, const at::Tensor& masked, const at::Tensor& bias);

  // -> [out]; call it before the other gradients, which use its padded copy of grad
  at::Tensor grad_bias(const at::Tensor& grad);

  // -> [N, in]
  at::Tensor grad_input(const at::Tensor& grad, const at::Tensor& masked);

  // -> [out, in]
  at::Tensor grad_weight(const at::Tensor& grad, const at::Tensor& x);

 private:
  at::Tensor with_columns(const at::Tensor& matrix, int64_t columns);
  const at::Tensor& padded_grad(const at::Tensor& grad);

  const OnDevice& device_;
  const uint32_t* bits_;
  int64_t out_, in_;
  int64_t padded_out_, padded_in_; // the same if nothing is padded
  at::Tensor padded_grad_;
};

} // namespace prunesweep::cuda
