#include "masked_linear/cpu/sparse_gradients.h"

namespace prunesweep {
namespace {

// Writes a tile of the gradient of the weight for a single block of rows, whose products are the sums.
void sample_in_place(const Pattern& pattern, int64_t tile, const float* a, const float* b, float* weight, int width) {
  clear(pattern, tile, weight);
  for (int64_t c = 0; c < pattern.chunks(); ++c) {
    const int64_t first = c * pattern.chunk;
    float* const to = weight + tile * kTileRows * pattern.columns + first;
    sample(pattern, tile, c, a, b + first * width, {to, pattern.columns, 1}, width);
  }
}

} // namespace

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
            write, scratch.mine(), kTileRows * width, width, data(gradients.x) + t * kTileRows, in, rows,
            by_input->rows_of(t));
      }
    });
  }
}

} // namespace prunesweep
