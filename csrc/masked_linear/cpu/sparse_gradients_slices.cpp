#include "masked_linear/cpu/sparse_gradients.h"

namespace prunesweep {
namespace {

using at::Tensor;

// Slices of the rows: the more, the more threads can share the work, and the more sums of `entries` weights have to be
// kept and added up. A power of two, which divides evenly among threads.
int64_t slices_for(int64_t rows, int64_t entries) {
  constexpr int64_t kMost = 16, kSliceRows = 256, kSumBytes = 16 << 20;
  int64_t slices = 2;
  while (slices < kMost && 2 * slices * kSliceRows <= rows && 2 * slices * entries * 4 <= kSumBytes) {
    slices *= 2;
  }
  return slices;
}

// Each slice goes through its rows in groups of blocks, and with each group through the outputs in panels.
class Slices {
 public:
  explicit Slices(const Backward& call)
      : call_(call),
        by_input_(call.by_input),
        by_output_(call.by_output),
        out_(call.out),
        in_(call.in),
        width_(call.width),
        slices_(slices_for(call.rows, by_output_ ? by_output_->entries : 0)),
        panel_(std::max(kTileRows, by_input_ ? by_input_->chunk : 0)),
        padded_(by_input_ ? int64_t(by_input_->tiles.size()) * kTileRows : 0),
        period_(by_input_ ? std::max<int64_t>(1, period_for(by_input_->chunks()) * by_input_->chunk / panel_) : 1),
        has_parts_(period_ * panel_ < out_),
        group_(group_for(in_ + panel_ + (has_parts_ ? 2 : 1) * padded_, width_)),
        entries_(by_output_ ? by_output_->entries : 0),
        biases_(call.bias ? out_ : 0),
        x_step_(in_ * width_),
        grad_step_(panel_ * width_),
        result_step_(padded_ * width_),
        weight_sums_(pooled_empty({slices_, entries_}, at::kFloat)),
        bias_sums_(pooled_empty({slices_, biases_}, at::kFloat)),
        scratch_(group_ * (x_step_ + grad_step_ + 2 * result_step_)),
        write_(writer_for(call.rows * in_)) {}

  void run() const {
    const int64_t blocks = divide_up(call_.rows, width_);
    at::parallel_for(0, slices_, 1, [&](int64_t begin, int64_t end) {
      Group group = memory_of_thread();
      for (int64_t s = begin; s < end; ++s) {
        start_sums(s, group);
        const int64_t last = std::min(call_.rows, (s + 1) * blocks / slices_ * width_);
        for (group.row = s * blocks / slices_ * width_; group.row < last; group.row += group_ * width_) {
          group.rows = std::min(group_ * width_, last - group.row);
          group.blocks = divide_up(group.rows, width_);
          take_through(group);
        }
      }
    });
    if (by_output_) {
      add_up_weight();
    }
    if (call_.bias) {
      add_up_bias();
    }
  }

 private:
  // Rows of x that go through everything together, and where a thread computes with them
  struct Group {
    int64_t row, rows, blocks; // the first row, and how many
    float* x; // [blocks, in, width]
    float* grad; // [blocks, panel, width]
    float* result; // [blocks, padded, width], the gradient of x
    float* part; // a partial sum of it; the same as `result` if there is only one
    float *weight_sums, *bias_sums; // of the slice
  };

  // Outputs [first, first + size)
  struct Panel {
    int64_t first, size;
  };

  Group memory_of_thread() const {
    Group group{};
    group.x = scratch_.mine();
    group.grad = group.x + group_ * x_step_;
    group.result = group.grad + group_ * grad_step_;
    group.part = has_parts_ ? group.result + group_ * result_step_ : group.result;
    if (has_parts_) {
      std::fill_n(group.part, group_ * result_step_, 0.0f);
    }
    return group;
  }

  void start_sums(int64_t slice, Group& group) const {
    group.weight_sums = data(weight_sums_) + slice * entries_;
    group.bias_sums = data(bias_sums_) + slice * biases_;
    std::fill_n(group.weight_sums, entries_, 0.0f);
    std::fill_n(group.bias_sums, biases_, 0.0f);
  }

  void take_through(const Group& group) const {
    if (by_output_) {
      to_blocks(call_.x.const_data_ptr<float>() + group.row * in_, in_, group.rows, in_, width_, x_step_, group.x);
    }
    for (int64_t first = 0; first < out_; first += panel_) {
      const Panel panel{first, std::min(panel_, out_ - first)};
      to_blocks(
          call_.grad.const_data_ptr<float>() + group.row * out_ + first, out_, group.rows, panel.size, width_,
          grad_step_, group.grad);
      if (call_.bias) {
        sum_bias(group, panel);
      }
      if (by_output_) {
        sample_panel(group, panel);
      }
      if (by_input_) {
        multiply_panel(group, panel);
      }
    }
    if (by_input_) {
      from_blocks(
          write_, group.result, result_step_, width_, data(call_.gradients.x) + group.row * in_, in_, group.rows, in_);
    }
  }

  void sum_bias(const Group& group, Panel panel) const {
    for (int64_t b = 0; b < group.blocks; ++b) {
      kernels().sum(group.grad + b * grad_step_, panel.size, group.bias_sums + panel.first, width_);
    }
  }

  // The sums of the gradient of the weight: by_output's tiles are parts of the panel
  void sample_panel(const Group& group, Panel panel) const {
    const int64_t last = divide_up(panel.first + panel.size, kTileRows);
    for (int64_t t = panel.first / kTileRows; t < last; ++t) {
      const int64_t row = t * kTileRows - panel.first;
      for (int64_t c = 0; c < by_output_->chunks(); ++c) {
        const Entries<float> sums{group.weight_sums + by_output_->entry_of(t, c)};
        for (int64_t b = 0; b < group.blocks; ++b) {
          sample(
              *by_output_, t, c, group.grad + b * grad_step_ + row * width_,
              group.x + b * x_step_ + c * by_output_->chunk * width_, sums, width_);
        }
      }
    }
  }

  // The gradient of x: by_input's chunks are parts of the panel
  void multiply_panel(const Group& group, Panel panel) const {
    const int64_t chunk = by_input_->chunk;
    const int64_t last = divide_up(panel.first + panel.size, chunk);
    for (int64_t c = panel.first / chunk; c < last; ++c) {
      const int64_t row = c * chunk - panel.first;
      for (int64_t t = 0; t < int64_t(by_input_->tiles.size()); ++t) {
        for (int64_t b = 0; b < group.blocks; ++b) {
          const int64_t at = b * result_step_ + t * kTileRows * width_;
          multiply(
              *by_input_, t, c, *call_.weights, group.grad + b * grad_step_ + row * width_, nullptr, group.result + at,
              group.part + at, width_);
        }
      }
    }
    if (has_parts_ && ((panel.first / panel_ + 1) % period_ == 0 || panel.first + panel_ >= out_)) {
      for (int64_t b = 0; b < group.blocks; ++b) {
        add_and_clear(group.result + b * result_step_, group.part + b * result_step_, x_step_);
      }
    }
  }

  void add_up_weight() const {
    at::parallel_for(0, by_output_->tiles.size(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        scatter(*by_output_, data(weight_sums_), slices_, t, data(call_.gradients.weight));
      }
    });
  }

  void add_up_bias() const {
    float* const bias = data(call_.gradients.bias);
    for (int64_t o = 0; o < out_; ++o) {
      float total = data(bias_sums_)[o];
      for (int64_t s = 1; s < slices_; ++s) {
        total += data(bias_sums_)[s * out_ + o];
      }
      bias[o] = total;
    }
  }

  const Backward& call_;
  const Pattern *const by_input_, *const by_output_;
  const int64_t out_, in_;
  const int width_;
  const int64_t slices_;
  const int64_t panel_; // outputs in a panel
  const int64_t padded_; // inputs, up to whole tiles
  const int64_t period_; // panels in a partial sum of the gradient of x
  const bool has_parts_; // whether there are several partial sums
  const int64_t group_; // blocks of rows in a group
  const int64_t entries_, biases_; // sums in a slice
  const int64_t x_step_, grad_step_, result_step_; // floats from block to block
  const Tensor weight_sums_, bias_sums_; // [slices, entries], [slices, out or 0]
  const Scratch scratch_;
  decltype(writer_for(0)) write_;
};

} // namespace

void Backward::with_slices() {
  Slices(*this).run();
}

} // namespace prunesweep
