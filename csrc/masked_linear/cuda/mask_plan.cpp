#include "masked_linear/cuda/mask_plan.h"

#include "masked_linear/common/mask_cache.h"
#include "masked_linear/cuda/apply_mask.h"

#include <torch/library.h>

#include <mutex>
#include <unordered_set>

namespace prunesweep::cuda {
namespace {

using at::Tensor;

// Bits [rows, words_per_row] and their number, int64 [1], on the device
std::pair<Tensor, Tensor> bits_and_kept(const Tensor& mask, cudaStream_t stream) {
  const auto m = mask.contiguous();
  auto bits = at::empty({m.size(0), words_per_row(m.size(1))}, m.options().dtype(at::kInt));
  auto kept = at::empty({1}, m.options().dtype(at::kLong));
  pack(
      static_cast<const uint8_t*>(m.const_data_ptr()), m.size(0), m.size(1),
      static_cast<uint32_t*>(bits.mutable_data_ptr()), kept.mutable_data_ptr<int64_t>(), stream);
  return {std::move(bits), std::move(kept)};
}

} // namespace

Plan::Plan(const Tensor& mask, uint32_t version, const OnDevice& device)
    : version(version),
      rows(mask.size(0)),
      columns(mask.size(1)),
      memory_(mask.device()),
      home_(device.torch_stream()) {
  Tensor count;
  const auto m = mask.contiguous();
  std::tie(bits, count) = bits_and_kept(m, device.stream());
  kept = count.item<int64_t>();
  if (kept > 0 && density() <= kMostSparse && sparse_supports(Dtype::kFloat, columns, rows)) {
    Memory scratch(mask.device());
    pattern = build_sparse_pattern(
        static_cast<const uint8_t*>(m.const_data_ptr()), rows, columns, kept, memory_.allocate(), scratch.allocate(),
        device.stream());
    device.synchronize(); // other streams may use it immediately
  }
}

void Plan::used_on(const OnDevice& device) const {
  if (const auto stream = device.torch_stream(); stream != home_) {
    bits.record_stream(stream);
    memory_.record_stream(stream);
  }
}

namespace {

// A graph that was captured with a plan reads its memory whenever it is replayed, and there is no notice of when that
// ends.
void keep_forever(const std::shared_ptr<const Plan>& plan) {
  static auto* const mutex = new std::mutex;
  static auto* const captured = new std::unordered_set<std::shared_ptr<const Plan>>;
  const std::lock_guard lock(*mutex);
  captured->insert(plan);
}

} // namespace

std::shared_ptr<const Plan> plan_of(const Tensor& mask, const OnDevice& device) {
  using Kept = MaskCache<Plan>;
  if (mask.numel() == 0) {
    return nullptr;
  }
  if (device.is_capturing()) {
    auto plan = Kept::current(mask);
    if (plan) {
      keep_forever(plan);
    }
    return plan;
  }
  auto plan = Kept::get(mask, [&](uint32_t version) { return std::make_shared<const Plan>(mask, version, device); });
  if (plan) {
    plan->used_on(device);
  }
  return plan;
}

Tensor packed(const Tensor& mask, const OnDevice& device) {
  return bits_and_kept(mask, device.stream()).first;
}

namespace {

int64_t bytes(const Tensor& mask) {
  const auto plan = MaskCache<Plan>::peek(mask);
  return plan ? plan->bytes() : 0;
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CUDA, m) {
  m.impl("masked_linear_forget", &MaskCache<Plan>::forget);
  m.impl("masked_linear_plan_bytes", &bytes);
}

} // namespace prunesweep::cuda
