// The second half of the fused products whose depth is split over blocks.

#pragma once

#include "common/cuda/runtime.h"

#include <cstdint>

namespace prunesweep::cuda {

constexpr int kSumColumns = 128;

// out [rows, columns] = the sum of partial [splits, rows, pitch] over its splits + bias [columns], which may be null.
// `pitch` is a multiple of kSumColumns that is not less than `columns`, and `partial` is aligned to 16 bytes.
void sum_splits(
    const float* partial, const void* bias, void* out, int splits, int rows, int columns, int pitch, Dtype dtype,
    cudaStream_t stream);

} // namespace prunesweep::cuda
