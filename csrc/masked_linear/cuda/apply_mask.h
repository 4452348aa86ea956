// The mask as bits, and applying it to matrices.

#pragma once

#include "common/cuda/runtime.h"

namespace prunesweep::cuda {

// Words of 32 bits in a row of a packed mask: bit j of word w is column 32 w + j, the bits beyond the last column are
// 0.
inline int64_t words_per_row(int64_t columns) {
  return (columns + 31) / 32;
}

// mask [rows, columns], any nonzero byte counts as true -> bits [rows, words_per_row], and how many are true
void pack(const uint8_t* mask, int64_t rows, int64_t columns, uint32_t* bits, int64_t* kept, cudaStream_t stream);

// out = values where the bit is set, else exactly 0; values [rows, columns], elements of `element_size` bytes (2, 4,
// 8). Rows of out are out_columns >= columns elements apart; what is between them is not written.
void apply_mask(
    const void* values, const uint32_t* bits, void* out, int64_t rows, int64_t columns, int64_t out_columns,
    int64_t element_size, cudaStream_t stream);

// Sets to exactly 0 where the bit is not set, and does not read the rest.
void clear_pruned(
    void* values, const uint32_t* bits, int64_t rows, int64_t columns, int64_t element_size, cudaStream_t stream);

} // namespace prunesweep::cuda
