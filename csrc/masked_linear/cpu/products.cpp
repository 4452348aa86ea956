#include "masked_linear/cpu/products.h"

#include "common/rows.h"
#include "masked_linear/cpu/choose_algorithm.h"
#include "masked_linear/cpu/dense.h"
#include "masked_linear/cpu/sparse.h"

#include <ATen/Functions.h>

namespace prunesweep {

using at::Tensor;

Output masked_linear_output(const Tensor& x, const Tensor& weight, const Tensor& mask, const Tensor& bias) {
  const auto rows = as_rows(x);
  const auto plan = worth_a_plan(mask) ? plan_of(mask) : nullptr;
  const auto algorithms = choose_algorithms(plan.get(), rows);
  if (algorithms.output == Algorithm::kSparse) {
    const auto b = bias.defined() ? bias.contiguous() : bias;
    return {
        with_leading_sizes(sparse_output(plan->by_output(mask), rows.contiguous(), weight.contiguous(), b), x),
        Tensor()};
  }
  const bool full = plan && plan->is_full();
  const auto masked = full ? weight : masked_weight(weight, mask);
  return {
      with_leading_sizes(dense_output(rows, masked, bias), x),
      full || algorithms.grad_input == Algorithm::kSparse ? Tensor() : masked};
}

Gradients masked_linear_gradients(
    const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& mask, const Tensor& masked,
    Wanted wanted) {
  const auto rows = as_rows(grad);
  const auto plan = worth_a_plan(mask) ? plan_of(mask) : nullptr;
  const auto algorithms = choose_algorithms(plan.get(), rows);
  const bool sparse_x = wanted.x && algorithms.grad_input == Algorithm::kSparse;
  const bool sparse_weight = wanted.weight && algorithms.grad_weight == Algorithm::kSparse;
  const bool full = plan && plan->is_full();

  Gradients result;
  if (sparse_x || sparse_weight) {
    auto sparse = sparse_gradients(
        rows.contiguous(), sparse_x ? &plan->by_input(mask) : nullptr, sparse_x ? weight.contiguous() : Tensor(),
        sparse_weight ? &plan->by_output(mask) : nullptr, sparse_weight ? as_rows(x).contiguous() : Tensor(),
        wanted.bias);
    result = {std::move(sparse.x), std::move(sparse.weight), std::move(sparse.bias)};
  } else if (wanted.bias) {
    result.bias = rows.sum(0);
  }
  if (wanted.x && !sparse_x) {
    result.x = dense_grad_input(rows, full ? weight : masked.defined() ? masked : masked_weight(weight, mask));
  }
  if (wanted.weight && !sparse_weight) {
    result.weight = dense_grad_weight(rows, as_rows(x), full ? nullptr : &mask);
  }
  if (wanted.x) {
    result.x = with_leading_sizes(result.x, grad);
  }
  return result;
}

} // namespace prunesweep
