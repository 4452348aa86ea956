// CPU and shape-only (Meta) kernels of the masked linear layer: mask the weight, then one dense product.

#include "masked_linear.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/util/accumulate.h>
#include <torch/library.h>

namespace prunesweep {
namespace {

using at::Tensor;

constexpr int64_t kGrainSize = 1 << 15; // below this a thread costs more than it saves

template <typename Bits>
void select_bits(const void* values, const uint8_t* mask, void* out, int64_t size) {
  const auto* src = static_cast<const Bits*>(values);
  auto* dst = static_cast<Bits*>(out);
  at::parallel_for(0, size, kGrainSize, [&](int64_t begin, int64_t end) {
#pragma omp simd // src and dst are the same or apart
    for (int64_t i = begin; i < end; ++i) {
      // Bits instead of `mask ? value : 0`, which compiles to a branch that random masks mispredict. Bytes instead of
      // bool, since a mask that is a view of other memory may hold bytes that are neither 0 nor 1.
      dst[i] = src[i] & static_cast<Bits>(-static_cast<Bits>(mask[i] != 0));
    }
  });
}

// out = values where mask is true, else exactly 0: NaN and infinities vanish too. values and out are contiguous, of
// one dtype, and may be the same tensor.
void select(const Tensor& values, const Tensor& mask, const Tensor& out) {
  const auto m = mask.contiguous();
  const auto kernel = values.element_size() == 2 ? select_bits<uint16_t>
      : values.element_size() == 4               ? select_bits<uint32_t>
                                                 : select_bits<uint64_t>;
  kernel(values.const_data_ptr(), static_cast<const uint8_t*>(m.const_data_ptr()), out.mutable_data_ptr(), values.numel());
}

Tensor masked_weight(const Tensor& weight, const Tensor& mask) {
  const auto w = weight.contiguous();
  auto out = at::empty_like(w);
  select(w, mask, out);
  return out;
}

// [..., n] -> [product of the leading sizes, n]
Tensor as_rows(const Tensor& t) {
  if (t.dim() == 2) {
    return t;
  }
  const auto leading = t.sizes().slice(0, t.dim() - 1);
  return t.reshape({c10::multiply_integers(leading), t.size(-1)});
}

// [rows, n] -> [..., n] with the leading sizes of `like`
Tensor with_leading_sizes(const Tensor& rows, const Tensor& like) {
  if (like.dim() == 2) {
    return rows;
  }
  auto sizes = like.sizes().vec();
  sizes.back() = rows.size(1);
  return rows.view(sizes);
}

Tensor masked_linear_cpu(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  const auto transposed = masked_weight(weight, mask).t();
  const auto rows = as_rows(x);
  return with_leading_sizes(bias ? at::addmm(*bias, rows, transposed) : at::mm(rows, transposed), x);
}

Tensor grad_input_cpu(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  check_grad_input(grad, weight, mask);
  return with_leading_sizes(at::mm(as_rows(grad), masked_weight(weight, mask)), grad);
}

Tensor grad_weight_cpu(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  check_grad_weight(grad, x, mask);
  const auto dense = at::mm(as_rows(grad).t(), as_rows(x));
  select(dense, mask, dense);
  return dense;
}

// Contiguous [..., n] with the leading sizes of `like`
Tensor empty_rows(const Tensor& like, const c10::SymInt& n) {
  auto sizes = like.sym_sizes().vec();
  sizes.back() = n;
  return at::empty_symint(sizes, like.options());
}

Tensor masked_linear_meta(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  check_masked_linear(x, weight, mask, bias);
  return empty_rows(x, weight.sym_size(0));
}

Tensor grad_input_meta(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  check_grad_input(grad, weight, mask);
  return empty_rows(grad, weight.sym_size(1));
}

Tensor grad_weight_meta(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  check_grad_weight(grad, x, mask);
  return at::empty_symint(mask.sym_sizes(), grad.options());
}

} // namespace

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("masked_linear", &masked_linear_cpu);
  m.impl("masked_linear_grad_input", &grad_input_cpu);
  m.impl("masked_linear_grad_weight", &grad_weight_cpu);
}

TORCH_LIBRARY_IMPL(prune, Meta, m) {
  m.impl("masked_linear", &masked_linear_meta);
  m.impl("masked_linear_grad_input", &grad_input_meta);
  m.impl("masked_linear_grad_weight", &grad_weight_meta);
}

} // namespace prunesweep
