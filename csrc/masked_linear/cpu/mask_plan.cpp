#include "masked_linear/cpu/mask_plan.h"

#include "masked_linear/common/mask_cache.h"

#include <ATen/Parallel.h>
#include <torch/library.h>

#include <atomic>

namespace prunesweep {
namespace {

using at::Tensor;

int64_t count(const Tensor& mask) {
  const auto m = mask.contiguous();
  const auto* const bytes = static_cast<const uint8_t*>(m.const_data_ptr());
  std::atomic<int64_t> total{0};
  at::parallel_for(0, m.numel(), 1 << 18, [&](int64_t begin, int64_t end) {
    int64_t sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      sum += bytes[i] != 0;
    }
    total += sum;
  });
  return total;
}

// Columns per block: the denser, the more often each is read, and the closer its cache has to be.
int64_t chunk_for(double density) {
  return density >= 0.25 ? 64 : density >= 0.08 ? 128 : density >= 0.03 ? 256 : density >= 0.015 ? 512 : 1024;
}

} // namespace

Plan::Plan(const Tensor& mask, uint32_t version)
    : version(version), rows(mask.size(0)), columns(mask.size(1)), kept(count(mask)) {}

const Pattern& Plan::by_output(const Tensor& mask) const {
  const std::lock_guard lock(mutex_);
  if (!by_output_) {
    const auto m = mask.contiguous();
    by_output_ = std::make_unique<Pattern>(
        static_cast<const uint8_t*>(m.const_data_ptr()), rows, columns, columns, 1, chunk_for(density()));
  }
  return *by_output_;
}

const Pattern& Plan::by_input(const Tensor& mask) const {
  const std::lock_guard lock(mutex_);
  if (!by_input_) {
    const auto m = mask.contiguous();
    by_input_ = std::make_unique<Pattern>(
        static_cast<const uint8_t*>(m.const_data_ptr()), columns, rows, 1, columns, chunk_for(density()));
  }
  return *by_input_;
}

int64_t Plan::bytes() const {
  const std::lock_guard lock(mutex_);
  return (by_output_ ? by_output_->bytes() : 0) + (by_input_ ? by_input_->bytes() : 0);
}

std::shared_ptr<const Plan> plan_of(const Tensor& mask) {
  return MaskCache<Plan>::get(mask, [&](uint32_t version) { return std::make_shared<const Plan>(mask, version); });
}

namespace {

int64_t bytes(const Tensor& mask) {
  const auto plan = MaskCache<Plan>::peek(mask);
  return plan ? plan->bytes() : 0;
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("masked_linear_forget", &MaskCache<Plan>::forget);
  m.impl("masked_linear_plan_bytes", &bytes);
}

// For devices without plans
TORCH_LIBRARY_IMPL(prune, CompositeExplicitAutograd, m) {
  m.impl("masked_linear_forget", [](const Tensor&) {});
  m.impl("masked_linear_plan_bytes", [](const Tensor&) { return int64_t{0}; });
}

} // namespace prunesweep
