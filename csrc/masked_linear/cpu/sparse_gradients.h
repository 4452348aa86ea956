// The gradients of sparse.h, by two algorithms: both give the same sums, rounded in different order.

#pragma once

#include "masked_linear/cpu/sparse.h"
#include "masked_linear/cpu/sparse_blocks.h"

#include <cstring>
#include <optional>

namespace prunesweep {

// One call: its arguments, as in sparse.h, and its results
struct Backward {
  const at::Tensor &grad, &x;
  const Pattern *by_input, *by_output;
  const bool bias;
  const int64_t rows, out, in;
  const int width;
  SparseGradients gradients;
  std::optional<KeptWeights> weights; // of by_input

  Backward(
      const at::Tensor& grad, const Pattern* by_input, const at::Tensor& weight, const Pattern* by_output,
      const at::Tensor& x, bool bias)
      : grad(grad),
        x(x),
        by_input(by_input),
        by_output(by_output),
        bias(bias),
        rows(grad.size(0)),
        out(grad.size(1)),
        in(by_input ? by_input->rows : by_output->columns),
        width(width_for(rows, in)) {
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

  // For many rows: each task takes a slice of them through everything, so that a panel of the gradient, transposed
  // once, serves all three results out of the cache.
  void with_slices();

  // For few rows: the tasks are tiles of the outputs, then tiles of the inputs.
  void with_tiles();
};

// Zeros in a tile's part of the gradient of the weight
inline void clear(const Pattern& pattern, int64_t tile, float* weight) {
  std::memset(weight + tile * kTileRows * pattern.columns, 0, pattern.rows_of(tile) * pattern.columns * sizeof(float));
}

// Writes the gradient of the weight: the sums at the entries, in fixed order over the slices, and zeros elsewhere.
inline void scatter(const Pattern& pattern, const float* sums, int64_t slices, int64_t tile, float* weight) {
  clear(pattern, tile, weight);
  pattern.visit(tile, [&](int64_t entry, int64_t row, int64_t column) {
    float total = sums[entry];
    for (int64_t s = 1; s < slices; ++s) {
      total += sums[s * pattern.entries + entry];
    }
    weight[row * pattern.columns + column] = total;
  });
}

} // namespace prunesweep
