// What the CUDA kernels need to know about a mask, computed once: its bits, how many are kept, and where, if those are
// few.

#pragma once

#include "common/cuda/torch_bridge.h"
#include "masked_linear/cuda/sparse.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

namespace prunesweep::cuda {

// Immutable, and complete on every stream once constructed.
struct Plan {
  // Reads the count back once, so it synchronises.
  Plan(const at::Tensor& mask, uint32_t version, const OnDevice& device);

  const uint32_t version;
  const int64_t rows, columns;
  at::Tensor bits; // int32 [rows, words_per_row(columns)], see apply_mask.h
  int64_t kept = 0;
  std::optional<SparsePattern> pattern; // if at most kMostSparse of the weights are kept
  int64_t bytes() const {
    return bits.nbytes() + memory_.bytes();
  }

  double density() const {
    return static_cast<double>(kept) / static_cast<double>(rows * columns);
  }
  bool is_full() const {
    return kept == rows * columns;
  }

  // Call before its memory is read on the device's current stream: if the plan is destroyed meanwhile, the memory is
  // not reused before the read is done.
  void used_on(const OnDevice& device) const;

  // Density up to which a pattern is built
  static constexpr double kMostSparse = 0.15;

 private:
  Memory memory_; // of the pattern
  const c10::Stream home_; // the stream that the memory belongs to
};

// Cached with the mask, see mask_cache.h. Null where nothing can be read back (under graph capture) or cached (a mask
// created in inference mode): then only the dense algorithm is possible, with bits packed for the call.
std::shared_ptr<const Plan> plan_of(const at::Tensor& mask, const OnDevice& device);

// The bits of a mask without a plan
at::Tensor packed(const at::Tensor& mask, const OnDevice& device);

} // namespace prunesweep::cuda
