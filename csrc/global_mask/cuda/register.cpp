// global_mask on CUDA; the selection itself is in topk.h.

#include "global_mask/checks.h"

#include "common/cuda/torch_bridge.h"
#include "global_mask/cuda/topk.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <torch/library.h>

namespace prunesweep::cuda {
namespace {

using at::Tensor;

// Raises for the first tensor that holds a NaN to select from, as on the CPU; speed does not matter before an error.
[[noreturn]] void raise_nan(
    int64_t i, at::TensorList scores, const OptionalTensorList& weights, const OptionalTensorList& within) {
  const Tensor values = weights ? scores[i] * (*weights)[i] : scores[i];
  Tensor nan = values.isnan();
  if (within) {
    nan = nan.logical_and((*within)[i]);
  }
  TORCH_CHECK_VALUE(
      false, "global_mask: tensor ", i, " of ", weights ? "scores * weights" : "scores", " holds ",
      nan.sum().item<int64_t>(), " NaN");
}

// The threshold and the ties are on the CPU, where the operator has to check them anyway: the only time it waits for
// the device.
GlobalMask global_mask(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_global_mask(scores, weights, within);
  const OnDevice device(scores[0]);
  TORCH_CHECK(
      !device.is_capturing(),
      "global_mask: it reads its result back, which is not possible while a CUDA graph is captured: call it before the "
      "capture");
  std::vector<Tensor> masks, alive; // alive: contiguous copies the pieces point into
  std::vector<Piece> pieces;
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto data = [&](const Tensor& t) { return alive.emplace_back(t.contiguous()).const_data_ptr(); };
    masks.push_back(at::empty(scores[i].sizes(), scores[i].options().dtype(at::kBool)));
    pieces.push_back(
        {data(scores[i]), weights ? data((*weights)[i]) : nullptr,
         within ? static_cast<const uint8_t*>(data((*within)[i])) : nullptr,
         static_cast<uint8_t*>(masks[i].mutable_data_ptr()), scores[i].numel()});
  }
  Memory scratch(scores[0].device());
  const auto allocate = scratch.allocate();
  auto* const on_device = static_cast<TopkResult*>(allocate(sizeof(TopkResult)));
  topk_masks(pieces, dtype_of(scores[0]), std::max<int64_t>(keep, 0), on_device, allocate, device.stream());
  TopkResult result{};
  check(
      cudaMemcpyAsync(&result, on_device, sizeof(result), cudaMemcpyDeviceToHost, device.stream()), "cudaMemcpyAsync");
  device.synchronize();

  if (result.first_nan_piece >= 0) {
    raise_nan(result.first_nan_piece, scores, weights, within);
  }
  TORCH_CHECK_VALUE(
      0 <= keep && keep <= result.available, "global_mask: keep is ", keep, ", but it needs to be between 0 and ",
      result.available, ", the number of scores", within ? " where within is true" : "");
  return {
      std::move(masks), at::scalar_tensor(result.threshold, at::TensorOptions(at::kDouble)),
      at::scalar_tensor(result.ties, at::TensorOptions(at::kLong))};
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CUDA, m) {
  m.impl("global_mask", &global_mask);
}

} // namespace prunesweep::cuda
