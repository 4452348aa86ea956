// Tensors with leading dimensions as the matrices that the kernels take, and back.

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/accumulate.h>

namespace prunesweep {

// [..., n] -> [product of the leading sizes, n]
inline at::Tensor as_rows(const at::Tensor& t) {
  if (t.dim() == 2) {
    return t;
  }
  const auto leading = t.sizes().slice(0, t.dim() - 1);
  return t.reshape({c10::multiply_integers(leading), t.size(-1)});
}

// [rows, n] -> [..., n] with the leading sizes of `like`
inline at::Tensor with_leading_sizes(const at::Tensor& rows, const at::Tensor& like) {
  if (like.dim() == 2) {
    return rows;
  }
  auto sizes = like.sizes().vec();
  sizes.back() = rows.size(1);
  return rows.view(sizes);
}

} // namespace prunesweep
