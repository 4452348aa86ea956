// Exact selection of the `keep` highest scores over a list of tensors.
//
// Order: by value (+0 equals -0), then the lower (tensor, C-order flat index) first, so the result is a function of the
// input alone, whatever the number of threads.

#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>
#include <vector>

namespace prunesweep {

using OptionalTensorList = std::optional<at::TensorList>;

// Masks (bool, contiguous, shapes of scores), threshold (float64, 0-d: the smallest kept score, +inf for keep = 0) and
// ties (int64, 0-d: how many of the scores selected from equal the threshold).
using GlobalMask = std::tuple<std::vector<at::Tensor>, at::Tensor, at::Tensor>;

// scores: at least one tensor, all of one dtype (float32, float64, bfloat16; not on the CPU also float16) and device.
// weights: the same shapes and dtype; selects on the products. within: bool, the same shapes; selects among the
// elements where it is true. Raises an error that names the argument.
void check_global_mask(at::TensorList scores, const OptionalTensorList& weights, const OptionalTensorList& within);

} // namespace prunesweep
