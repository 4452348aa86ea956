// Copies between matrices with rows of any length and matrices whose rows start at multiples of 16 bytes, which is what
// cuBLAS's fast kernels need: on an H200 its products are 2.6 (TF32) to more than 5 times (bfloat16) as fast as with
// rows of 10837 elements.

#pragma once

#include "common/cuda/runtime.h"

namespace prunesweep::cuda {

// `columns`, rounded up so that rows of elements of this size are multiples of 16 bytes
inline int64_t padded(int64_t columns, int64_t element_size) {
  const int64_t step = 16 / element_size;
  return (columns + step - 1) / step * step;
}

// [rows, columns] -> [rows, out_columns]: the first columns, or all and zeros
void copy_rows(
    const void* values, void* out, int64_t rows, int64_t columns, int64_t out_columns, int64_t element_size,
    cudaStream_t stream);

// As copy_rows, out_columns >= columns; and sums [columns] over the rows: float32 sums in fixed order, rounded once to
// the dtype, which is not float64.
void copy_rows_and_sum(
    const void* values, void* out, void* sums, int64_t rows, int64_t columns, int64_t out_columns, Dtype dtype,
    const Allocate& scratch, cudaStream_t stream);

} // namespace prunesweep::cuda
