// Large outputs without page faults: memory that a tensor frees is handed to the next one of about that size.
//
// The operating system zeroes fresh pages one by one, which takes longer than a sparse product or a selection itself. A
// tensor owns its memory until its storage dies, so no two live tensors share any. Unused memory is bounded by the
// environment variable PRUNE_POOL_MB (256 by default; 0 switches the pool off), read once.

#pragma once

#include <ATen/core/Tensor.h>

namespace prunesweep {

// Uninitialised contiguous CPU tensor, as at::empty; small ones come from PyTorch's allocator.
at::Tensor pooled_empty(at::IntArrayRef sizes, at::ScalarType dtype);

} // namespace prunesweep
