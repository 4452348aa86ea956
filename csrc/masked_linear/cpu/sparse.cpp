#include "masked_linear/cpu/sparse.h"

#include "common/memory_pool.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

namespace prunesweep {
namespace {

using at::Tensor;

int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Rows of x in a block: 128 use the registers best, but the block of the widest side should fit the second-level cache.
int width_for(int64_t rows, int64_t features) {
  return rows > 64 && features <= 2048 ? 128 : 64;
}

// Blocks that pass through a tile of the pattern while the tile's entries are in the cache
int64_t group_for(int64_t features, int width) {
  return std::clamp<int64_t>((int64_t{768} << 10) / (features * width * 4), 1, 4);
}

// How the rows of a result of `numbers` floats are written: one that is larger than a second-level cache does not stay there.
auto writer_for(int64_t numbers) {
  return numbers > int64_t{1} << 19 ? kernels().stream_block : kernels().from_block;
}

// Chunks whose sums are added up by themselves before they join the total: in one long sum rounding errors pile up.
int64_t period_for(int64_t chunks) {
  return chunks <= 16 ? chunks : static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(chunks))));
}

void add_and_clear(float* total, float* part, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    total[i] += part[i];
    part[i] = 0;
  }
}

float* data(const Tensor& t) {
  return t.mutable_data_ptr<float>();
}

// Room for `size` floats per thread
class Scratch {
 public:
  explicit Scratch(int64_t size)
      : size_(divide_up(size, 16) * 16), memory_(pooled_empty({size_ * at::get_num_threads()}, at::kFloat)) {}
  float* mine() const {
    return data(memory_) + size_ * at::get_thread_num();
  }

 private:
  int64_t size_;
  Tensor memory_;
};

// Whether the kernels read and write weights where they are: each is needed once, and most lines of memory hold some. Else a copy
// of the kept ones, in the pattern's order, is made before, or spread out afterwards.
bool in_place(const Pattern& pattern, int64_t blocks) {
  constexpr double kDense = 0.08;
  return blocks == 1 && pattern.entries >= kDense * pattern.rows * pattern.columns;
}

// The kept weights of a pattern for products with so many blocks
class KeptWeights {
 public:
  // The weight of the entry at (row, column) is at [row * row_stride + column * column_stride]; one of them is 1.
  KeptWeights(const Pattern& pattern, const Tensor& weight, int64_t row_stride, int64_t column_stride, int64_t blocks)
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

  // Those of the block after it, to be asked for during a product of so many runs
  Ahead after(int64_t tile, int64_t chunk, int64_t runs) const {
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
        divide_up(all, std::max<int64_t>(1, runs))};
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
  Tensor gathered_;
};

// One block of the pattern times an in block: of the first chunk `total` = start + the product, of the others `part` += it
void multiply(
    const Pattern& pattern, int64_t tile_index, int64_t chunk, const KeptWeights& weights, const float* in,
    const float* start, float* total, float* part, int width) {
  const auto& tile = pattern.tiles[tile_index];
  const auto run = tile.first_run[chunk];
  const auto* const runs = tile.runs.data() + run;
  const auto* const columns = tile.columns.data() + tile.first_column[chunk];
  const auto size = tile.first_run[chunk + 1] - run;
  const auto here = weights.of(tile_index, chunk);
  const auto ahead = weights.after(tile_index, chunk, size);
  if (chunk == 0) {
    kernels().multiply_first(runs, size, columns, here, in, start, total, width, ahead);
  } else {
    kernels().multiply(runs, size, columns, here, in, part, width, ahead);
  }
}

// sums += <a, b> at the entries of one block of the pattern
void sample(
    const Pattern& pattern, int64_t tile_index, int64_t chunk, const float* a, const float* b, Entries<float> sums,
    int width) {
  const auto& tile = pattern.tiles[tile_index];
  const auto run = tile.first_run[chunk];
  kernels().sample(
      tile.runs.data() + run, tile.first_run[chunk + 1] - run, tile.columns.data() + tile.first_column[chunk], a, b, sums,
      width);
}

// The rows [count, features] of a tensor as blocks: [blocks, features, width]
void to_blocks(const float* rows, int64_t stride, int64_t count, int64_t columns, int width, int64_t step, float* blocks) {
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

// out tile [blocks, kTileRows, width] = start + pattern's tile * in blocks [blocks, columns, width]; the room after the out
// tile, as much again, is used too.
void multiply_tile(
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

// Zeros in a tile's part of the gradient of the weight
void clear(const Pattern& pattern, int64_t tile, float* weight) {
  std::memset(weight + tile * kTileRows * pattern.columns, 0, pattern.rows_of(tile) * pattern.columns * sizeof(float));
}

// Writes the gradient of the weight: the sums at the entries, in fixed order over the slices, and zeros elsewhere.
void scatter(const Pattern& pattern, const float* sums, int64_t slices, int64_t tile, float* weight) {
  clear(pattern, tile, weight);
  pattern.visit(tile, [&](int64_t entry, int64_t row, int64_t column) {
    float total = sums[entry];
    for (int64_t s = 1; s < slices; ++s) {
      total += sums[s * pattern.entries + entry];
    }
    weight[row * pattern.columns + column] = total;
  });
}

// The same of a single block, whose products are the sums
void sample_in_place(const Pattern& pattern, int64_t tile, const float* a, const float* b, float* weight, int width) {
  clear(pattern, tile, weight);
  for (int64_t c = 0; c < pattern.chunks(); ++c) {
    const int64_t first = c * pattern.chunk;
    float* const to = weight + tile * kTileRows * pattern.columns + first;
    sample(pattern, tile, c, a, b + first * width, {to, pattern.columns, 1}, width);
  }
}

// What both ways of computing gradients need
struct Backward {
  const Tensor &grad, &x;
  const Pattern *by_input, *by_output;
  const bool bias;
  const int64_t rows, out, in;
  const int width;
  SparseGradients gradients;
  std::optional<KeptWeights> weights; // of by_input

  Backward(
      const Tensor& grad, const Pattern* by_input, const Tensor& weight, const Pattern* by_output, const Tensor& x,
      bool bias)
      : grad(grad), x(x), by_input(by_input), by_output(by_output), bias(bias), rows(grad.size(0)),
        out(grad.size(1)), in(by_input ? by_input->rows : by_output->columns), width(width_for(rows, in)) {
    if (by_input) {
      gradients.x = pooled_empty({rows, in}, at::kFloat);
      weights.emplace(*by_input, weight, 1, in, divide_up(rows, width));
    }
    if (by_output) {
      gradients.weight = pooled_empty({out, in}, at::kFloat);
    }
    if (bias) {
      gradients.bias = pooled_empty({out}, at::kFloat);
    }
  }

  void with_slices(int64_t slices);
  void with_tiles();
};

// Slices of the rows: the more, the more threads can share the work, and the more sums of `entries` weights have to be kept and
// added up. A power of two, which divides evenly among threads.
int64_t slices_for(int64_t rows, int64_t entries) {
  constexpr int64_t kMost = 16, kSliceRows = 256, kSumBytes = 16 << 20;
  int64_t slices = 2;
  while (slices < kMost && 2 * slices * kSliceRows <= rows && 2 * slices * entries * 4 <= kSumBytes) {
    slices *= 2;
  }
  return slices;
}

// For many rows: each task takes a slice of them through everything, so that a panel of the gradient, transposed once, serves
// all three results out of the cache. The slices' sums are added up at the end.
void Backward::with_slices(int64_t slices) {
  const int64_t blocks = divide_up(rows, width);
  const int64_t panel = std::max(kTileRows, by_input ? by_input->chunk : 0); // of outputs
  const int64_t padded = by_input ? int64_t(by_input->tiles.size()) * kTileRows : 0; // inputs
  const int64_t period = by_input ? std::max<int64_t>(1, period_for(by_input->chunks()) * by_input->chunk / panel) : 1;
  const bool parts = period * panel < out; // then they are summed up by themselves
  const int64_t group = group_for(in + panel + (parts ? 2 : 1) * padded, width);
  const int64_t entries = by_output ? by_output->entries : 0;
  const auto sums = pooled_empty({slices, entries}, at::kFloat);
  const auto bias_sums = pooled_empty({slices, bias ? out : 0}, at::kFloat);
  const int64_t in_step = in * width, panel_step = panel * width;
  const int64_t padded_step = padded * width;
  const Scratch scratch(group * (in_step + panel_step + 2 * padded_step));
  const auto write = writer_for(rows * in);

  at::parallel_for(0, slices, 1, [&](int64_t begin, int64_t end) {
    float* const x_blocks = scratch.mine();
    float* const grad_blocks = x_blocks + group * in_step;
    float* const result = grad_blocks + group * panel_step;
    float* const part = parts ? result + group * padded_step : result;
    if (parts) {
      std::fill_n(part, group * padded_step, 0.0f);
    }
    for (int64_t s = begin; s < end; ++s) {
      float* const slice_sums = data(sums) + s * entries;
      float* const slice_bias = data(bias_sums) + s * (bias ? out : 0);
      std::fill_n(slice_sums, entries, 0.0f);
      std::fill_n(slice_bias, bias ? out : 0, 0.0f);
      const int64_t last = std::min(rows, (s + 1) * blocks / slices * width);
      for (int64_t n = s * blocks / slices * width; n < last; n += group * width) {
        const int64_t count = std::min(group * width, last - n);
        const int64_t groups = divide_up(count, width);
        if (by_output) {
          to_blocks(x.const_data_ptr<float>() + n * in, in, count, in, width, in_step, x_blocks);
        }
        for (int64_t o = 0; o < out; o += panel) {
          const int64_t columns = std::min(panel, out - o);
          to_blocks(grad.const_data_ptr<float>() + n * out + o, out, count, columns, width, panel_step, grad_blocks);
          for (int64_t b = 0; bias && b < groups; ++b) {
            kernels().sum(grad_blocks + b * panel_step, columns, slice_bias + o, width);
          }
          for (int64_t t = o / kTileRows; by_output && t * kTileRows < o + columns; ++t) {
            for (int64_t c = 0; c < by_output->chunks(); ++c) {
              for (int64_t b = 0; b < groups; ++b) {
                sample(
                    *by_output, t, c, grad_blocks + b * panel_step + (t * kTileRows - o) * width,
                    x_blocks + b * in_step + c * by_output->chunk * width,
                    {slice_sums + by_output->entry_of(t, c)}, width);
              }
            }
          }
          for (int64_t c = by_input ? o / by_input->chunk : 0; by_input && c * by_input->chunk < o + columns; ++c) {
            for (int64_t t = 0; t < int64_t(by_input->tiles.size()); ++t) {
              for (int64_t b = 0; b < groups; ++b) {
                const int64_t at = b * padded_step + t * kTileRows * width;
                multiply(
                    *by_input, t, c, *weights, grad_blocks + b * panel_step + (c * by_input->chunk - o) * width, nullptr,
                    result + at, part + at, width);
              }
            }
          }
          if (by_input && parts && ((o / panel + 1) % period == 0 || o + panel >= out)) {
            for (int64_t b = 0; b < groups; ++b) {
              add_and_clear(result + b * padded_step, part + b * padded_step, in_step);
            }
          }
        }
        if (by_input) {
          from_blocks(write, result, padded_step, width, data(gradients.x) + n * in, in, count, in);
        }
      }
    }
  });
  if (by_output) {
    at::parallel_for(0, by_output->tiles.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        scatter(*by_output, data(sums), slices, t, data(gradients.weight));
      }
    });
  }
  for (int64_t o = 0; bias && o < out; ++o) {
    float total = data(bias_sums)[o];
    for (int64_t s = 1; s < slices; ++s) {
      total += data(bias_sums)[s * out + o];
    }
    data(gradients.bias)[o] = total;
  }
}

// For few rows: the tasks are tiles of the outputs, then tiles of the inputs.
void Backward::with_tiles() {
  const int64_t blocks = divide_up(rows, width);
  const int64_t in_step = in * width, out_step = out * width;
  const auto x_blocks = pooled_empty({by_output ? blocks * in_step : 0}, at::kFloat);
  const auto grad_blocks = pooled_empty({blocks * out_step}, at::kFloat);
  const bool at_once = by_output && in_place(*by_output, blocks);
  const auto sums = pooled_empty({by_output && !at_once ? by_output->entries : 0}, at::kFloat);
  if (by_output) {
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      to_blocks(
          x.const_data_ptr<float>() + begin * width * in, in, std::min(rows, end * width) - begin * width, in, width,
          in_step, data(x_blocks) + begin * in_step);
    });
  }
  at::parallel_for(0, divide_up(out, kTileRows), 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t o = t * kTileRows;
      const int64_t columns = std::min(kTileRows, out - o);
      float* const tile = data(grad_blocks) + o * width;
      to_blocks(grad.const_data_ptr<float>() + o, out, rows, columns, width, out_step, tile);
      if (bias) {
        std::fill_n(data(gradients.bias) + o, columns, 0.0f);
        for (int64_t b = 0; b < blocks; ++b) {
          kernels().sum(tile + b * out_step, columns, data(gradients.bias) + o, width);
        }
      }
      if (at_once) {
        sample_in_place(*by_output, t, tile, data(x_blocks), data(gradients.weight), width);
      } else if (by_output) {
        std::fill_n(data(sums) + by_output->tiles[t].first_entry, by_output->tiles[t].columns.size(), 0.0f);
        for (int64_t c = 0; c < by_output->chunks(); ++c) {
          for (int64_t b = 0; b < blocks; ++b) {
            sample(
                *by_output, t, c, tile + b * out_step, data(x_blocks) + b * in_step + c * by_output->chunk * width,
                {data(sums) + by_output->entry_of(t, c)}, width);
          }
        }
        scatter(*by_output, data(sums), 1, t, data(gradients.weight));
      }
    }
  });
  if (by_input) {
    const Scratch scratch(2 * blocks * kTileRows * width);
    const auto write = writer_for(rows * in);
    at::parallel_for(0, by_input->tiles.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        multiply_tile(*by_input, t, *weights, data(grad_blocks), blocks, width, nullptr, scratch.mine());
        from_blocks(
            write, scratch.mine(), kTileRows * width, width, data(gradients.x) + t * kTileRows, in, rows, by_input->rows_of(t));
      }
    });
  }
}

} // namespace

Tensor sparse_output(const Pattern& pattern, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t rows = x.size(0), in = pattern.columns, out = pattern.rows, tiles = pattern.tiles.size();
  const int width = width_for(rows, in);
  const int64_t group = group_for(in + kTileRows, width);
  const KeptWeights weights(pattern, weight, in, 1, divide_up(rows, width));
  auto y = pooled_empty({rows, out}, at::kFloat);
  const auto* const start = bias.defined() ? bias.const_data_ptr<float>() : nullptr;

  const int64_t groups = divide_up(rows, group * width);
  // Few rows: several tasks share a group, each with a part of the tiles.
  const int64_t parts = std::min(tiles, divide_up(2 * at::get_num_threads(), groups));
  const int64_t step = in * width;
  const Scratch scratch(group * (step + 2 * kTileRows * width));
  const auto write = writer_for(rows * out);
  at::parallel_for(0, groups * parts, 1, [&](int64_t begin, int64_t end) {
    float* const blocks = scratch.mine();
    float* const result = blocks + group * step;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t n = task / parts * group * width;
      const int64_t count = std::min(group * width, rows - n);
      if (task == begin || task % parts == 0) {
        to_blocks(x.const_data_ptr<float>() + n * in, in, count, in, width, step, blocks);
      }
      const int64_t part = task % parts;
      for (int64_t t = part * tiles / parts; t < (part + 1) * tiles / parts; ++t) {
        multiply_tile(pattern, t, weights, blocks, divide_up(count, width), width, start, result);
        from_blocks(
            write, result, kTileRows * width, width, data(y) + n * out + t * kTileRows, out, count, pattern.rows_of(t));
      }
    }
  });
  return y;
}

SparseGradients sparse_gradients(
    const Tensor& grad, const Pattern* by_input, const Tensor& weight, const Pattern* by_output, const Tensor& x,
    bool bias) {
  constexpr int64_t kManyRows = 256;
  Backward backward(grad, by_input, weight, by_output, x, bias);
  if (grad.size(0) >= kManyRows) {
    backward.with_slices(slices_for(grad.size(0), by_output ? by_output->entries : 0));
  } else {
    backward.with_tiles();
  }
  return backward.gradients;
}

} // namespace prunesweep
