#include "masked_linear/cpu/dense.h"

#include "common/memory_pool.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

namespace prunesweep {

using at::Tensor;

namespace {

constexpr int64_t kGrainSize = 1 << 15; // smaller work is not worth another thread

template <typename Bits>
void apply_mask_bits(const void* values, const uint8_t* mask, void* out, int64_t size) {
  const auto* src = static_cast<const Bits*>(values);
  auto* dst = static_cast<Bits*>(out);
  at::parallel_for(0, size, kGrainSize, [&](int64_t begin, int64_t end) {
#pragma omp simd // src and dst are the same or do not overlap
    for (int64_t i = begin; i < end; ++i) {
      // Bits instead of `mask ? value : 0`, which compiles to a branch that random masks mispredict. Bytes instead of
      // bool, since a mask that is a view of other memory may hold bytes that are neither 0 nor 1.
      dst[i] = src[i] & static_cast<Bits>(-static_cast<Bits>(mask[i] != 0));
    }
  });
}

} // namespace

void apply_mask(const Tensor& values, const Tensor& mask, const Tensor& out) {
  const auto m = mask.contiguous();
  const auto kernel = values.element_size() == 2 ? apply_mask_bits<uint16_t>
      : values.element_size() == 4               ? apply_mask_bits<uint32_t>
                                                 : apply_mask_bits<uint64_t>;
  kernel(
      values.const_data_ptr(), static_cast<const uint8_t*>(m.const_data_ptr()), out.mutable_data_ptr(), values.numel());
}

Tensor masked_weight(const Tensor& weight, const Tensor& mask) {
  const auto w = weight.contiguous();
  auto out = pooled_empty(w.sizes(), w.scalar_type());
  apply_mask(w, mask, out);
  return out;
}

Tensor dense_output(const Tensor& x, const Tensor& masked, const Tensor& bias) {
  auto y = pooled_empty({x.size(0), masked.size(0)}, x.scalar_type());
  return bias.defined() ? at::addmm_out(y, bias, x, masked.t()) : at::mm_out(y, x, masked.t());
}

Tensor dense_grad_input(const Tensor& grad, const Tensor& masked) {
  auto out = pooled_empty({grad.size(0), masked.size(1)}, grad.scalar_type());
  return at::mm_out(out, grad, masked);
}

Tensor dense_grad_weight(const Tensor& grad, const Tensor& x, const Tensor* mask) {
  auto out = pooled_empty({grad.size(1), x.size(1)}, grad.scalar_type());
  at::mm_out(out, grad.t(), x);
  if (mask) {
    apply_mask(out, *mask, out);
  }
  return out;
}

} // namespace prunesweep
