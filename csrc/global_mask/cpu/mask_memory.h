// Memory for the masks of a global selection.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace prunesweep {

// One uninitialised, contiguous bool tensor of the shape of each of `like`, on the CPU, each with its own storage.
//
// Except for a few small ones, they are slices of one block, which uses huge pages from a few megabytes on. The block
// returns to the pool when the last of them is freed.
std::vector<at::Tensor> empty_masks(at::TensorList like);

} // namespace prunesweep
