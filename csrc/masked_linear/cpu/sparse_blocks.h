// What the sparse products share: blocks of rows, and the products of one block with one block of the pattern.

#pragma once

#include "common/memory_pool.h"
#include "masked_linear/cpu/sparse_pattern.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

namespace prunesweep {

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Rows of x in a block: 128 use the registers best, but the block of the widest side should fit the second-level cache.
inline int width_for(int64_t rows, int64_t features) {
  return rows > 64 && features <= 2048 ? 128 : 64;
}

// Blocks that pass through a tile of the pattern while the tile's entries are in the cache
inline int64_t group_for(int64_t features, int width) {
  return std::clamp<int64_t>((int64_t{768} << 10) / (features * width * 4), 1, 4);
}

// How the rows of a result of `numbers` floats are written: one that is larger than a second-level cache does not stay
// there.
inline auto writer_for(int64_t numbers) {
  return numbers > int64_t{1} << 19 ? kernels().stream_block : kernels().from_block;
}

// Chunks in a partial sum, which is then added to the total: in one long sum rounding errors accumulate.
inline int64_t period_for(int64_t chunks) {
  return chunks <= 16 ? chunks : static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(chunks))));
}

inline void add_and_clear(float* total, float* part, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    total[i] += part[i];
    part[i] = 0;
  }
}

inline float* data(const at::Tensor& t) {
  return t.mutable_data_ptr<float>();
}

// Memory for `size` floats per thread
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : size_(divide_up(size, 16) * 16), memory_(pooled_empty({size_ * at::get_num_threads()}, at::kFloat)) {}
  float* mine() const {
    return data(memory_) + size_ * at::get_thread_num();
  }

 private:
  int64_t size_;
  at::Tensor memory_;
};

// Whether the kernels read and write weights in place: each is needed once, and most cache lines hold some. Otherwise
// the kept ones are gathered in the pattern's order before, or scattered afterwards.
inline bool in_place(const Pattern& pattern, int64_t blocks) {
  constexpr double kDense = 0.08;
  return blocks == 1 && pattern.entries >= kDense * pattern.rows * pattern.columns;
}

// The kept weights of a pattern, for products with `blocks` blocks of rows
class KeptWeights {
 public:
  // The weight of the entry at (row, column) is at [row * row_stride + column * column_stride]; one of them is 1.
  KeptWeights(
      const Pattern& pattern, const at::Tensor& weight, int64_t row_stride, int64_t column_stride, int64_t blocks)
      : pattern_(pattern), at_{weight.const_data_ptr<float>(), row_stride, column_stride} {
    if (!in_place(pattern, blocks)) {
      gather();
    }
  }

  // Those of a block of the pattern
  Entries<const float> of(int64_t tile, int64_t chunk) const {
    if (gathered_.defined()) {
      return {data(gathered_) + pattern_.entry_of(tile, chunk)};
    }
    return {place(tile, chunk), at_.row_stride, at_.column_stride};
  }

  // Those of the next block, to be prefetched during a product of `segments` segments
  Ahead after(int64_t tile, int64_t chunk, int64_t segments) const {
    if (++chunk == pattern_.chunks()) {
      chunk = 0;
      ++tile;
    }
    if (gathered_.defined() || tile == int64_t(pattern_.tiles.size())) {
      return {};
    }
    constexpr int64_t kLine = 64 / sizeof(float);
    const bool by_rows = at_.column_stride == 1;
    const int64_t rows = pattern_.rows_of(tile), columns = pattern_.columns_of(chunk);
    const int64_t lines = divide_up(by_rows ? columns : rows, kLine);
    const int64_t all = (by_rows ? rows : columns) * lines;
    return {
        place(tile, chunk), by_rows ? at_.row_stride : at_.column_stride, lines, all,
        divide_up(all, std::max<int64_t>(1, segments))};
  }

 private:
  void gather() {
    gathered_ = pooled_empty({pattern_.entries}, at::kFloat);
    auto* const to = data(gathered_);
    at::parallel_for(0, pattern_.tiles.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        pattern_.visit(t, [&](int64_t entry, int64_t row, int64_t column) {
          to[entry] = at_.first[row * at_.row_stride + column * at_.column_stride];
        });
      }
    });
  }

  const float* place(int64_t tile, int64_t chunk) const {
    return at_.first + tile * kTileRows * at_.row_stride + chunk * pattern_.chunk * at_.column_stride;
  }

  const Pattern& pattern_;
  Entries<const float> at_;
  at::Tensor gathered_;
};

// One block of the pattern times an in block: of the first chunk `total` = start + the product, of the others `part` +=
// it
inline void multiply(
    const Pattern& pattern, int64_t tile_index, int64_t chunk, const KeptWeights& weights, const float* in,
    const float* start, float* total, float* part, int width) {
  const auto& tile = pattern.tiles[tile_index];
  const auto segment = tile.first_segment[chunk];
  const auto* const segments = tile.segments.data() + segment;
  const auto* const columns = tile.columns.data() + tile.first_column[chunk];
  const auto size = tile.first_segment[chunk + 1] - segment;
  const auto here = weights.of(tile_index, chunk);
  const auto ahead = weights.after(tile_index, chunk, size);
  if (chunk == 0) {
    kernels().multiply_first(segments, size, columns, here, in, start, total, width, ahead);
  } else {
    kernels().multiply(segments, size, columns, here, in, part, width, ahead);
  }
}

// sums += <a, b> at the entries of one block of the pattern
inline void sample(
    const Pattern& pattern, int64_t tile_index, int64_t chunk, const float* a, const float* b, Entries<float> sums,
    int width) {
  const auto& tile = pattern.tiles[tile_index];
  const auto segment = tile.first_segment[chunk];
  kernels().sample(
      tile.segments.data() + segment, tile.first_segment[chunk + 1] - segment,
      tile.columns.data() + tile.first_column[chunk], a, b, sums, width);
}

// The rows [count, features] of a tensor as blocks: [blocks, features, width]
inline void to_blocks(
    const float* rows, int64_t stride, int64_t count, int64_t columns, int width, int64_t step, float* blocks) {
  for (int64_t n = 0; n < count; n += width, blocks += step) {
    kernels().to_block(rows + n * stride, stride, std::min<int64_t>(width, count - n), columns, blocks, width);
  }
}

template <typename Write>
void from_blocks(
    Write write, const float* blocks, int64_t step, int width, float* rows, int64_t stride, int64_t count,
    int64_t columns) {
  for (int64_t n = 0; n < count; n += width, blocks += step) {
    write(blocks, width, rows + n * stride, stride, std::min<int64_t>(width, count - n), columns);
  }
}

// out tile [blocks, kTileRows, width] = start + pattern's tile * in blocks [blocks, columns, width]; the memory after
// the out tile, of the same size, is used for partial sums.
inline void multiply_tile(
    const Pattern& pattern, int64_t tile, const KeptWeights& weights, const float* in, int64_t blocks, int width,
    const float* start, float* out) {
  const int64_t chunks = pattern.chunks(), period = period_for(chunks);
  const int64_t step = kTileRows * width, size = pattern.rows_of(tile) * width;
  float* const part = period == chunks ? out : out + blocks * step;
  if (part != out) {
    std::fill_n(part, blocks * step, 0.0f);
  }
  for (int64_t c = 0; c < chunks; ++c) {
    for (int64_t b = 0; b < blocks; ++b) {
      multiply(
          pattern, tile, c, weights, in + (b * pattern.columns + c * pattern.chunk) * width,
          start ? start + tile * kTileRows : nullptr, out + b * step, part + b * step, width);
      if (part != out && ((c + 1) % period == 0 || c + 1 == chunks)) {
        add_and_clear(out + b * step, part + b * step, size);
      }
    }
  }
}

} // namespace prunesweep
