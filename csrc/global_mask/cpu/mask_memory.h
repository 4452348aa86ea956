// Memory for the masks of a global selection.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace prunesweep {

// One uninitialised, contiguous bool tensor of the shape of each of `like`, on the CPU, each with a storage of its own.
//
// But for a few small ones, they are slices of one block, from a few megabytes on of huge pages. The block goes back to the
// pool when the last of them is gone.
std::vector<at::Tensor> empty_masks(at::TensorList like);

} // namespace prunesweep
