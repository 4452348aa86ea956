#include "masked_linear/cuda/dense.h"

#include "masked_linear/cuda/apply_mask.h"
#include "masked_linear/cuda/pad.h"

namespace prunesweep::cuda {
namespace {

using at::Tensor;

// Below these sizes launching the copies costs more than they save.
constexpr int64_t kFewestRows = 64;
constexpr int64_t kFewestWeights = int64_t{1} << 18;

} // namespace

DenseProducts::DenseProducts(
    const OnDevice& device, const uint32_t* bits, int64_t out, int64_t in, const Tensor& rows, bool tf32)
    : device_(device), bits_(bits), out_(out), in_(in), padded_out_(out), padded_in_(in) {
  // IEEE float32 and float64, which do not use tensor cores, gain nothing
  const bool tensor_cores = tf32 || rows.element_size() == 2;
  if (tensor_cores && rows.size(0) >= kFewestRows && out * in >= kFewestWeights) {
    padded_out_ = padded(out, rows.element_size());
    padded_in_ = padded(in, rows.element_size());
  }
}

Tensor DenseProducts::masked_weight(const Tensor& weight) {
  const bool is_padded = padded_out_ != out_ || padded_in_ != in_;
  if (!bits_ && !is_padded) {
    return weight;
  }
  const auto w = weight.contiguous();
  auto masked = at::empty({padded_out_, padded_in_}, w.options());
  if (padded_in_ != in_) {
    masked.zero_();
  } else if (padded_out_ != out_) {
    masked.narrow(0, out_, padded_out_ - out_).zero_();
  }
  if (bits_) {
    apply_mask(
        w.const_data_ptr(), bits_, masked.mutable_data_ptr(), out_, in_, padded_in_, w.element_size(),
        device_.stream());
  } else {
    copy_rows(w.const_data_ptr(), masked.mutable_data_ptr(), out_, in_, padded_in_, w.element_size(), device_.stream());
  }
  return masked;
}

Tensor DenseProducts::output(const Tensor& x, const Tensor& masked, const Tensor& bias) {
  const auto in = with_columns(x, padded_in_);
  if (!bias.defined()) {
    return with_columns(at::mm(in, masked.t()), out_);
  }
  const auto b = with_columns(bias.unsqueeze(0), padded_out_).squeeze(0);
  return with_columns(at::addmm(b, in, masked.t()), out_);
}

Tensor DenseProducts::grad_bias(const Tensor& grad) {
  if (padded_out_ == out_) {
    return grad.sum(0);
  }
  const auto g = grad.contiguous();
  auto sums = at::empty({out_}, g.options());
  padded_grad_ = at::empty({g.size(0), padded_out_}, g.options());
  Memory scratch(g.device());
  copy_rows_and_sum(
      g.const_data_ptr(), padded_grad_.mutable_data_ptr(), sums.mutable_data_ptr(), g.size(0), out_, padded_out_,
      dtype_of(g), scratch.allocate(), device_.stream());
  return sums;
}

Tensor DenseProducts::grad_input(const Tensor& grad, const Tensor& masked) {
  return with_columns(at::mm(padded_grad(grad), masked), in_);
}

Tensor DenseProducts::grad_weight(const Tensor& grad, const Tensor& x) {
  auto result = at::mm(padded_grad(grad).t(), with_columns(x, padded_in_)).narrow(0, 0, out_);
  result = with_columns(result, in_);
  if (bits_) {
    clear_pruned(result.mutable_data_ptr(), bits_, out_, in_, result.element_size(), device_.stream());
  }
  return result;
}

// The matrix, truncated or padded with zeros to this many columns; the matrix itself if it has that many
Tensor DenseProducts::with_columns(const Tensor& matrix, int64_t columns) {
  if (matrix.size(1) == columns) {
    return matrix;
  }
  const auto m = matrix.contiguous();
  auto result = at::empty({m.size(0), columns}, m.options());
  copy_rows(
      m.const_data_ptr(), result.mutable_data_ptr(), m.size(0), m.size(1), columns, m.element_size(), device_.stream());
  return result;
}

const Tensor& DenseProducts::padded_grad(const Tensor& grad) {
  if (!padded_grad_.defined()) {
    padded_grad_ = with_columns(grad, padded_out_);
  }
  return padded_grad_;
}

} // namespace prunesweep::cuda
