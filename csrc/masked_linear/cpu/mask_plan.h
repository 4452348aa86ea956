// What the CPU kernels need to know about a mask, computed once.

#pragma once

#include "masked_linear/cpu/sparse_pattern.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <optional>

namespace prunesweep {

// Of the mask's contents at one version; immutable except for the patterns, which are built at their first use.
class Plan {
 public:
  Plan(const at::Tensor& mask, uint32_t version);

  const uint32_t version;
  const int64_t rows, columns;
  const int64_t kept;

  double density() const {
    return static_cast<double>(kept) / static_cast<double>(rows * columns);
  }
  bool is_full() const {
    return kept == rows * columns;
  }
  const Pattern& by_output(const at::Tensor& mask) const; // rows are outputs, columns inputs
  const Pattern& by_input(const at::Tensor& mask) const; // rows are inputs, columns outputs
  int64_t bytes() const;

 private:
  mutable std::mutex mutex_;
  mutable std::unique_ptr<const Pattern> by_output_, by_input_;
};

// Cached with the mask, see mask_cache.h; null for a mask created in inference mode.
std::shared_ptr<const Plan> plan_of(const at::Tensor& mask);

} // namespace prunesweep
