#include "masked_linear/cpu/sparse.h"

#include "masked_linear/cpu/sparse_gradients.h"

namespace prunesweep {

using at::Tensor;

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
    backward.with_slices();
  } else {
    backward.with_tiles();
  }
  return backward.gradients;
}

} // namespace prunesweep
