// global_mask on the CPU; the selection itself is in cpu/select.h.

#include "global_mask/checks.h"

#include "global_mask/cpu/mask_memory.h"
#include "global_mask/cpu/select.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <tuple>

namespace prunesweep {
namespace {

using at::Tensor;

GlobalMask global_mask_cpu(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_global_mask(scores, weights, within);
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
           masks[i].template mutable_data_ptr<bool>(), begin, scores[i].numel()});
      begin += scores[i].numel();
    }
    Selection<scalar_t> selection(
        std::move(pieces), weights.has_value(), within.has_value(), weights ? "scores * weights" : "scores");
    const auto available = selection.available();
    if (keep < 0 || keep > available) {
      selection.check();
      TORCH_CHECK_VALUE(
          false, "global_mask: keep is ", keep, ", but it needs to be between 0 and ", available,
          ", the number of scores", within ? " where within is true" : "");
    }
    std::tie(threshold, ties) = selection.select_top(keep);
  });
  const auto scalar = scores[0].options();
  return {
      std::move(masks), at::scalar_tensor(threshold, scalar.dtype(at::kDouble)),
      at::scalar_tensor(ties, scalar.dtype(at::kLong))};
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("global_mask", &global_mask_cpu);
}

TORCH_LIBRARY_IMPL(prune, CompositeImplicitAutograd, m) {
  m.impl("_check_global_mask", &check_global_mask);
}

TORCH_LIBRARY_IMPL(prune, Autograd, m) {
  m.impl("global_mask", torch::autograd::autogradNotImplementedFallback());
}

} // namespace prunesweep
