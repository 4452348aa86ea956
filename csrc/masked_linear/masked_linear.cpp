// CPU kernels of the masked linear layer's operators.

#include "masked_linear/common/checks.h"

#include "masked_linear/cpu/products.h"

#include <torch/library.h>

namespace prunesweep {
namespace {

using at::Tensor;

Tensor masked_linear_cpu(const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  return masked_linear_output(x, weight, mask, bias.value_or(Tensor())).y;
}

Tensor grad_input_cpu(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  check_grad_input(grad, weight, mask);
  return masked_linear_gradients(grad, Tensor(), weight, mask, Tensor(), {true, false, false}).x;
}

Tensor grad_weight_cpu(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  check_grad_weight(grad, x, mask);
  return masked_linear_gradients(grad, x, Tensor(), mask, Tensor(), {false, true, false}).weight;
}

std::tuple<Tensor, Tensor> output_cpu(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  auto output = masked_linear_output(x, weight, mask, bias.value_or(Tensor()));
  return {std::move(output.y), std::move(output.masked)};
}

std::tuple<Tensor, Tensor, Tensor> gradients_cpu(
    const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& masked,
    std::array<bool, 3> wanted) {
  auto gradients =
      masked_linear_gradients(grad, x, weight, mask, masked.value_or(Tensor()), {wanted[0], wanted[1], wanted[2]});
  return {std::move(gradients.x), std::move(gradients.weight), std::move(gradients.bias)};
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("masked_linear", &masked_linear_cpu);
  m.impl("masked_linear_grad_input", &grad_input_cpu);
  m.impl("masked_linear_grad_weight", &grad_weight_cpu);
  m.impl("_masked_linear_output", &output_cpu);
  m.impl("_masked_linear_gradients", &gradients_cpu);
}

TORCH_LIBRARY_IMPL(prune, CompositeImplicitAutograd, m) {
  m.impl("_check_masked_linear", &check_masked_linear);
  m.impl("_check_masked_linear_grad_input", &check_grad_input);
  m.impl("_check_masked_linear_grad_weight", &check_grad_weight);
}

} // namespace prunesweep
