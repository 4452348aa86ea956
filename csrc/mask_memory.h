// Memory for the masks of a global selection.

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace prunesweep {

// One uninitialised, contiguous bool tensor of the shape of each of `like`, on the CPU, each with a storage of its own.
//
// From a few megabytes on, they are slices of one block of huge pages: the first touch of fresh memory would cost as much
// as the selection, 4 KB at a time. The block is given back when the last of them is gone.
std::vector<at::Tensor> empty_masks(at::TensorList like);

} // namespace prunesweep
