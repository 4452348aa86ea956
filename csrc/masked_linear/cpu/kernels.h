// The inner loops of the sparse masked linear layer, compiled once per instruction set.
//
// All work on blocks of `width` rows of x (64 or 128), transposed: feature f of row n of the block is at [f * width +
// n]. Arrays given as float* to such blocks are aligned to 64 bytes.

#pragma once

#include <cstdint>

namespace prunesweep {

// The kept weights of one output row within one chunk of columns: `count` consecutive entries.
struct RowSegment {
  uint16_t row; // within its tile
  uint16_t count;
};

// The weights of the entries: at [segment.row * row_stride + column * column_stride], or consecutive if both strides
// are 0.
template <typename T>
struct Entries {
  T* first;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
};

// Memory that `multiply` prefetches meanwhile, `lines_per_segment` cache lines with each segment: pieces of `lines`
// that start `stride` floats apart, `left` lines in all.
struct Ahead {
  const float* first = nullptr;
  int64_t stride = 0;
  int64_t lines = 0;
  int64_t left = 0;
  int64_t lines_per_segment = 0;
};

struct Kernels {
  // block[c * width + n] = rows[n * stride + c] for n < count; zero for the other n < width
  void (*to_block)(const float* rows, int64_t stride, int64_t count, int64_t columns, float* block, int width);

  // rows[n * stride + c] = block[c * width + n] for n < count
  void (*from_block)(const float* block, int width, float* rows, int64_t stride, int64_t count, int64_t columns);

  // The same with stores that bypass the caches, if the instruction set has them: for rows that would not stay cached
  // anyway
  void (*stream_block)(const float* block, int width, float* rows, int64_t stride, int64_t count, int64_t columns);

  // out[segment.row] += sum over the entries of the segment of weight * in[column], each a row of `width` numbers.
  // `ahead` is for weights with strides, whose order no hardware prefetcher predicts.
  void (*multiply)(
      const RowSegment* segments, int64_t size, const uint16_t* columns, Entries<const float> weights, const float* in,
      float* out, int width, Ahead ahead);

  // The same with = instead of +=, and start[segment.row] added where start is not null
  void (*multiply_first)(
      const RowSegment* segments, int64_t size, const uint16_t* columns, Entries<const float> weights, const float* in,
      const float* start, float* out, int width, Ahead ahead);

  // out += <a[segment.row], b[column]> at the entries, products of rows of `width` numbers; with strides = instead of
  // +=
  void (*sample)(
      const RowSegment* segments, int64_t size, const uint16_t* columns, const float* a, const float* b,
      Entries<float> out, int width);

  // out[c] += sum over n of block[c * width + n]
  void (*sum)(const float* block, int64_t columns, float* out, int width);
};

// Those for the chosen instruction set: see common/instruction_set.h, also for the error that this may raise.
const Kernels& kernels();

} // namespace prunesweep
