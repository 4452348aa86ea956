// CUDA kernels of the masked linear layer's operators: which algorithm computes each product, and what the algorithms
// share.

#include "masked_linear/common/checks.h"

#include "common/rows.h"
#include "masked_linear/cuda/choose_algorithm.h"
#include "masked_linear/cuda/dense.h"
#include "masked_linear/cuda/fused.h"
#include "masked_linear/cuda/sparse.h"

#include <ATen/Functions.h>
#include <torch/library.h>

namespace prunesweep::cuda {
namespace {

using at::Tensor;

// A layer's products in one call
class Layer {
 public:
  // `rows` is x or grad as [N, features].
  Layer(const Tensor& rows, const Tensor& mask)
      : device_(rows),
        out_features_(mask.size(0)),
        in_features_(mask.size(1)),
        plan_(plan_of(mask, device_)),
        bits_(plan_ ? plan_->bits : packed(mask, device_)),
        algorithm_(choose_algorithm(plan_.get(), rows)),
        dtype_(dtype_of(rows)),
        tf32_(allows_tf32(rows)),
        dense_(device_, plan_ && plan_->is_full() ? nullptr : bits(), out_features_, in_features_, rows, tf32_),
        rows_(rows.size(0)),
        scratch_(rows.device()) {}

  bool is_dense() const {
    return algorithm_ == Algorithm::kDense;
  }

  // Whether this is W∘M as masked_weight gives it: the setting of TF32, on which padding depends, may have changed
  // since.
  bool fits(const Tensor& masked) const {
    return dense_.fits(masked);
  }

  // W∘M for the dense algorithm
  Tensor masked_weight(const Tensor& weight) {
    return dense_.masked_weight(weight);
  }

  // x (W∘M)^T + bias; `masked` is used by the dense algorithm only
  Tensor output(const Tensor& x, const Tensor& weight, const Tensor& masked, const Tensor& bias) {
    if (is_dense()) {
      return dense_.output(x, masked, bias);
    }
    const auto in = x.contiguous(), w = weight.contiguous();
    const auto b = bias.defined() ? bias.contiguous() : bias;
    auto y = at::empty({rows_, out_features_}, x.options());
    const void* const b_data = b.defined() ? b.const_data_ptr() : nullptr;
    if (algorithm_ == Algorithm::kFused) {
      fused_output(
          in.const_data_ptr(), w.const_data_ptr(), bits(), b_data, y.mutable_data_ptr(), rows_, in_features_,
          out_features_, dtype_, tf32_, scratch_.allocate(), device_.stream());
    } else {
      sparse_output(
          *plan_->pattern, in.const_data_ptr(), w.const_data_ptr(), b_data, y.mutable_data_ptr(), rows_, dtype_,
          scratch_.allocate(), device_.stream());
    }
    return y;
  }

  // grad (W∘M); `masked` as above
  Tensor grad_input(const Tensor& grad, const Tensor& weight, const Tensor& masked) {
    if (is_dense()) {
      return dense_.grad_input(grad, masked);
    }
    const auto g = grad.contiguous(), w = weight.contiguous();
    auto grad_x = at::empty({rows_, in_features_}, grad.options());
    if (algorithm_ == Algorithm::kFused) {
      fused_grad_input(
          g.const_data_ptr(), w.const_data_ptr(), bits(), grad_x.mutable_data_ptr(), rows_, in_features_, out_features_,
          dtype_, tf32_, scratch_.allocate(), device_.stream());
    } else {
      sparse_grad_input(
          *plan_->pattern, g.const_data_ptr(), w.const_data_ptr(), grad_x.mutable_data_ptr(), rows_, dtype_,
          scratch_.allocate(), device_.stream());
    }
    return grad_x;
  }

  // The sum of the rows of grad alone: the other algorithms return it with the gradient of the weight
  Tensor grad_bias(const Tensor& grad) {
    return dense_.grad_bias(grad);
  }

  // M∘(grad^T x), and, unless the algorithm is dense, the sum of the rows of grad if requested
  std::pair<Tensor, Tensor> grad_weight(const Tensor& grad, const Tensor& x, bool with_bias) {
    if (is_dense()) {
      return {dense_.grad_weight(grad, x), Tensor()};
    }
    const auto g = grad.contiguous(), in = x.contiguous();
    auto grad_weight = at::empty({out_features_, in_features_}, grad.options());
    auto grad_bias = with_bias ? at::empty({out_features_}, grad.options()) : Tensor();
    void* const bias_data = with_bias ? grad_bias.mutable_data_ptr() : nullptr;
    if (algorithm_ == Algorithm::kFused) {
      fused_grad_weight(
          g.const_data_ptr(), in.const_data_ptr(), bits(), grad_weight.mutable_data_ptr(), bias_data, rows_,
          in_features_, out_features_, dtype_, tf32_, device_.stream());
    } else {
      sparse_grad_weight(
          *plan_->pattern, g.const_data_ptr(), in.const_data_ptr(), grad_weight.mutable_data_ptr(), bias_data, rows_,
          dtype_, scratch_.allocate(), device_.stream());
    }
    return {std::move(grad_weight), std::move(grad_bias)};
  }

 private:
  const uint32_t* bits() const {
    return static_cast<const uint32_t*>(bits_.const_data_ptr());
  }

  const OnDevice device_;
  const int64_t out_features_, in_features_;
  const std::shared_ptr<const Plan> plan_;
  const Tensor bits_; // the plan's, or of this call
  const Algorithm algorithm_;
  const Dtype dtype_;
  const bool tf32_;
  DenseProducts dense_;
  const int64_t rows_;
  Memory scratch_;
};

std::tuple<Tensor, Tensor> output_and_masked(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  const auto rows = as_rows(x);
  Layer layer(rows, mask);
  auto masked = layer.is_dense() ? layer.masked_weight(weight) : Tensor();
  auto y = layer.output(rows, weight, masked, bias.value_or(Tensor()));
  return {with_leading_sizes(y, x), std::move(masked)};
}

Tensor masked_linear(const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  return std::get<0>(output_and_masked(x, weight, mask, bias));
}

std::tuple<Tensor, Tensor, Tensor> gradients(
    const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& masked,
    std::array<bool, 3> wanted) {
  const auto rows = as_rows(grad);
  const auto [wants_x, wants_weight, wants_bias] = wanted;
  Layer layer(rows, mask);
  Tensor by_x, by_weight, by_bias;
  if (wants_bias && (!wants_weight || layer.is_dense())) {
    by_bias = layer.grad_bias(rows);
  }
  if (wants_x) {
    const auto w = !layer.is_dense() ? Tensor() : masked && layer.fits(*masked) ? *masked : layer.masked_weight(weight);
    by_x = with_leading_sizes(layer.grad_input(rows, weight, w), grad);
  }
  if (wants_weight) {
    auto [gradient, sums] = layer.grad_weight(rows, as_rows(x), wants_bias);
    by_weight = std::move(gradient);
    by_bias = sums.defined() ? sums : by_bias;
  }
  return {std::move(by_x), std::move(by_weight), std::move(by_bias)};
}

Tensor grad_input(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  check_grad_input(grad, weight, mask);
  return std::get<0>(gradients(grad, Tensor(), weight, mask, std::nullopt, {true, false, false}));
}

Tensor grad_weight(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  check_grad_weight(grad, x, mask);
  return std::get<1>(gradients(grad, x, Tensor(), mask, std::nullopt, {false, true, false}));
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CUDA, m) {
  m.impl("masked_linear", &masked_linear);
  m.impl("masked_linear_grad_input", &grad_input);
  m.impl("masked_linear_grad_weight", &grad_weight);
  m.impl("_masked_linear_output", &output_and_masked);
  m.impl("_masked_linear_gradients", &gradients);
}

} // namespace prunesweep::cuda
