// Checks, shapes and registration of global_mask; the selection itself is in topk_select.h.

#include "global_mask.h"

#include "mask_memory.h"
#include "topk_select.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <tuple>

namespace prunesweep {
namespace {

using at::Tensor;

void check_tensor(const char* name, size_t i, const Tensor& t, at::ScalarType dtype, const Tensor& like) {
  TORCH_CHECK(
      t.scalar_type() == dtype,
      "global_mask: ", name, "[", i, "] has dtype ", t.scalar_type(), ", but ", dtype, " is needed");
  TORCH_CHECK(
      t.device() == like.device(),
      "global_mask: ", name, "[", i, "] is on ", t.device(), ", but ", like.device(), " is needed");
}

void check_companions(
    const char* name, const OptionalTensorList& list, at::TensorList scores, at::ScalarType dtype) {
  if (!list) {
    return;
  }
  TORCH_CHECK_VALUE(
      list->size() == scores.size(),
      "global_mask: ", name, " has ", list->size(), " tensors, but scores has ", scores.size(),
      "; one for each is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto& t = (*list)[i];
    check_tensor(name, i, t, dtype, scores[i]);
    TORCH_CHECK(
        t.sym_sizes().equals(scores[i].sym_sizes()),
        "global_mask: ", name, "[", i, "] has shape ", t.sym_sizes(), ", but the shape of scores[", i, "] ",
        scores[i].sym_sizes(), " is needed");
  }
}

void check_arguments(at::TensorList scores, const OptionalTensorList& weights, const OptionalTensorList& within) {
  TORCH_CHECK_VALUE(!scores.empty(), "global_mask: scores is an empty list, but at least one tensor is needed");
  const auto dtype = scores[0].scalar_type();
  TORCH_CHECK(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16,
      "global_mask: scores[0] has dtype ", dtype, ", but float32, float64 or bfloat16 is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    check_tensor("scores", i, scores[i], dtype, scores[0]);
  }
  check_companions("weights", weights, scores, dtype);
  check_companions("within", within, scores, at::kBool);
}

GlobalMask global_mask_meta(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_arguments(scores, weights, within);
  std::vector<Tensor> masks;
  for (const auto& s : scores) {
    masks.push_back(at::empty_symint(s.sym_sizes(), s.options().dtype(at::kBool)));
  }
  const auto scalar = scores[0].options();
  return {std::move(masks), at::empty({}, scalar.dtype(at::kDouble)), at::empty({}, scalar.dtype(at::kLong))};
}

} // namespace

GlobalMask global_mask_cpu(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_arguments(scores, weights, within);
  auto masks = empty_masks(scores);
  std::vector<Tensor> alive; // contiguous copies the pieces point into
  double threshold = 0;
  int64_t ties = 0;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, scores[0].scalar_type(), "global_mask", [&] {
    Pieces<scalar_t> pieces;
    int64_t begin = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      const auto data = [&](const Tensor& t) { return alive.emplace_back(t.contiguous()); };
      pieces.push_back(
          {data(scores[i]).template const_data_ptr<scalar_t>(),
           weights ? data((*weights)[i]).template const_data_ptr<scalar_t>() : nullptr,
           within ? data((*within)[i]).template const_data_ptr<bool>() : nullptr,
           masks[i].template mutable_data_ptr<bool>(),
           begin,
           scores[i].numel()});
      begin += scores[i].numel();
    }
    Selection<scalar_t> selection(
        std::move(pieces), weights.has_value(), within.has_value(), weights ? "scores * weights" : "scores");
    const auto available = selection.available();
    if (keep < 0 || keep > available) {
      selection.check();
      TORCH_CHECK_VALUE(
          false,
          "global_mask: keep is ", keep, ", but it needs to be between 0 and ", available, ", the number of scores",
          within ? " where within is true" : "");
    }
    std::tie(threshold, ties) = selection.select(keep);
  });
  const auto scalar = scores[0].options();
  return {
      std::move(masks),
      at::scalar_tensor(threshold, scalar.dtype(at::kDouble)),
      at::scalar_tensor(ties, scalar.dtype(at::kLong))};
}

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("global_mask", &global_mask_cpu);
}

TORCH_LIBRARY_IMPL(prune, Meta, m) {
  m.impl("global_mask", &global_mask_meta);
}

TORCH_LIBRARY_IMPL(prune, Autograd, m) {
  m.impl("global_mask", torch::autograd::autogradNotImplementedFallback());
}

} // namespace prunesweep
