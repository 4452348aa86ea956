// CUDA kernels of the masked linear layer's operators: which way each product goes, and what the ways share.

#include "../masked_linear.h"

#include "../rows.h"
#include "dispatch.h"
#include "fused.h"
#include "select.h"
#include "sparse.h"

#include <ATen/Functions.h>
#include <torch/library.h>

namespace prunesweep::cuda {
namespace {

using at::Tensor;

// A layer's weight and mask in one call
class Layer {
 public:
  // `rows` is x or grad as [N, features].
  Layer(const Tensor& rows, const Tensor& mask)
      : device_(rows),
        mask_(mask),
        plan_(plan_of(mask, device_)),
        ways_(choose_ways(plan_.get(), rows)),
        dtype_(dtype_of(rows)),
        tf32_(allows_tf32(rows)),
        rows_(rows.size(0)),
        scratch_(rows.device()) {}

  const Ways& ways() const {
    return ways_;
  }

  // W∘M; the weight itself where all of it is kept
  Tensor masked(const Tensor& weight) {
    if (is_full()) {
      return weight;
    }
    const auto w = weight.contiguous();
    auto out = at::empty_like(w);
    select(
        w.const_data_ptr(), bits(), out.mutable_data_ptr(), w.size(0), w.size(1), w.element_size(), device_.stream());
    return out;
  }

  // x (W∘M)^T + bias; `dense` is W∘M, used on the dense way only
  Tensor output(const Tensor& x, const Tensor& weight, const Tensor& dense, const Tensor& bias) {
    if (ways_.output == Way::kDense) {
      return bias.defined() ? at::addmm(bias, x, dense.t()) : at::mm(x, dense.t());
    }
    const auto in = x.contiguous(), w = weight.contiguous();
    const auto b = bias.defined() ? bias.contiguous() : bias;
    auto y = at::empty({rows_, out_features()}, x.options());
    const void* const b_data = b.defined() ? b.const_data_ptr() : nullptr;
    if (ways_.output == Way::kFused) {
      fused_output(
          in.const_data_ptr(), w.const_data_ptr(), bits(), b_data, y.mutable_data_ptr(), rows_, in_features(),
          out_features(), dtype_, tf32_, scratch_.allocate(), device_.stream());
    } else {
      sparse_output(
          *plan_->pattern, in.const_data_ptr(), w.const_data_ptr(), b_data, y.mutable_data_ptr(), rows_, dtype_,
          scratch_.allocate(), device_.stream());
    }
    return y;
  }

  // grad (W∘M); `dense` as above
  Tensor grad_input(const Tensor& grad, const Tensor& weight, const Tensor& dense) {
    if (ways_.grad_input == Way::kDense) {
      return at::mm(grad, dense);
    }
    const auto g = grad.contiguous(), w = weight.contiguous();
    auto grad_x = at::empty({rows_, in_features()}, grad.options());
    if (ways_.grad_input == Way::kFused) {
      fused_grad_input(
          g.const_data_ptr(), w.const_data_ptr(), bits(), grad_x.mutable_data_ptr(), rows_, in_features(),
          out_features(), dtype_, tf32_, scratch_.allocate(), device_.stream());
    } else {
      sparse_grad_input(
          *plan_->pattern, g.const_data_ptr(), w.const_data_ptr(), grad_x.mutable_data_ptr(), rows_, dtype_,
          scratch_.allocate(), device_.stream());
    }
    return grad_x;
  }

  // M∘(grad^T x), and the sum of the rows of grad, if wanted
  std::pair<Tensor, Tensor> grad_weight(const Tensor& grad, const Tensor& x, bool with_bias) {
    if (ways_.grad_weight == Way::kDense) {
      auto grad_weight = at::mm(grad.t(), x);
      if (!is_full()) {
        clear_pruned(
            grad_weight.mutable_data_ptr(), bits(), grad_weight.size(0), grad_weight.size(1), grad_weight.element_size(),
            device_.stream());
      }
      return {std::move(grad_weight), with_bias ? grad.sum(0) : Tensor()};
    }
    const auto g = grad.contiguous(), in = x.contiguous();
    auto grad_weight = at::empty({out_features(), in_features()}, grad.options());
    auto grad_bias = with_bias ? at::empty({out_features()}, grad.options()) : Tensor();
    void* const bias_data = with_bias ? grad_bias.mutable_data_ptr() : nullptr;
    if (ways_.grad_weight == Way::kFused) {
      fused_grad_weight(
          g.const_data_ptr(), in.const_data_ptr(), bits(), grad_weight.mutable_data_ptr(), bias_data, rows_,
          in_features(), out_features(), dtype_, tf32_, device_.stream());
    } else {
      sparse_grad_weight(
          *plan_->pattern, g.const_data_ptr(), in.const_data_ptr(), grad_weight.mutable_data_ptr(), bias_data, rows_,
          dtype_, scratch_.allocate(), device_.stream());
    }
    return {std::move(grad_weight), std::move(grad_bias)};
  }

 private:
  int64_t out_features() const {
    return mask_.size(0);
  }
  int64_t in_features() const {
    return mask_.size(1);
  }
  bool is_full() const {
    return plan_ && plan_->is_full();
  }
  const uint32_t* bits() {
    if (!plan_ && !bits_.defined()) {
      bits_ = packed(mask_, device_);
    }
    return static_cast<const uint32_t*>((plan_ ? plan_->bits : bits_).const_data_ptr());
  }

  OnDevice device_;
  Tensor mask_;
  std::shared_ptr<const Plan> plan_;
  Ways ways_;
  Dtype dtype_;
  bool tf32_;
  int64_t rows_;
  Tensor bits_; // of this call, if there is no plan
  Memory scratch_;
};

std::tuple<Tensor, Tensor> output_and_masked(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  const auto rows = as_rows(x);
  Layer layer(rows, mask);
  const auto masked = layer.ways().output == Way::kDense ? layer.masked(weight) : Tensor();
  auto y = layer.output(rows, weight, masked, bias.value_or(Tensor()));
  const bool used_again = layer.ways().grad_input == Way::kDense;
  return {with_leading_sizes(y, x), used_again ? masked : Tensor()};
}

Tensor masked_linear(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  return std::get<0>(output_and_masked(x, weight, mask, bias));
}

std::tuple<Tensor, Tensor, Tensor> gradients(
    const Tensor& grad,
    const Tensor& x,
    const Tensor& weight,
    const Tensor& mask,
    const std::optional<Tensor>& masked,
    std::array<bool, 3> wanted) {
  const auto rows = as_rows(grad);
  const auto [wants_x, wants_weight, wants_bias] = wanted;
  Layer layer(rows, mask);
  Tensor by_x, by_weight, by_bias;
  if (wants_x) {
    const auto dense = layer.ways().grad_input == Way::kDense ? (masked ? *masked : layer.masked(weight)) : Tensor();
    by_x = with_leading_sizes(layer.grad_input(rows, weight, dense), grad);
  }
  if (wants_weight) {
    std::tie(by_weight, by_bias) = layer.grad_weight(rows, as_rows(x), wants_bias);
  } else if (wants_bias) {
    by_bias = rows.sum(0);
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
