#include "masked_linear/common/checks.h"

#include <c10/core/SymInt.h>
#include <c10/core/SymIntArrayRef.h>

namespace prunesweep {
namespace {

using at::Tensor;

void check_dtype(const char* op, const char* name, const Tensor& t) {
  const auto dtype = t.scalar_type();
  const bool on_cpu = t.device().is_cpu();
  TORCH_CHECK(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || (dtype == at::kHalf && !on_cpu), op,
      ": ", name, " has dtype ", dtype, ", but float32, float64", on_cpu ? "" : ", float16", " or bfloat16 is needed");
}

void check_device(const char* op, const char* name, const Tensor& t, const char* other_name, const Tensor& other) {
  TORCH_CHECK(
      t.device() == other.device(), op, ": ", name, " is on ", t.device(), ", but ", other_name, " is on ",
      other.device(), "; both need the same device");
}

void check_same_kind(const char* op, const char* name, const Tensor& t, const char* other_name, const Tensor& other) {
  TORCH_CHECK(
      t.scalar_type() == other.scalar_type(), op, ": ", name, " has dtype ", t.scalar_type(), ", but ", other_name,
      " has ", other.scalar_type(), "; both need the same dtype");
  check_device(op, name, t, other_name, other);
}

void check_matrix(const char* op, const char* name, const Tensor& t) {
  TORCH_CHECK(t.dim() == 2, op, ": ", name, " has shape ", t.sym_sizes(), ", but two dimensions [out, in] are needed");
}

void check_mask(const char* op, const Tensor& mask) {
  TORCH_CHECK(mask.scalar_type() == at::kBool, op, ": mask has dtype ", mask.scalar_type(), ", but bool is needed");
  check_matrix(op, "mask", mask);
}

void check_weight_and_mask(const char* op, const Tensor& weight, const Tensor& mask) {
  check_matrix(op, "weight", weight);
  check_mask(op, mask);
  check_device(op, "mask", mask, "weight", weight);
  const auto have = mask.sym_sizes();
  const auto need = weight.sym_sizes();
  TORCH_SYM_CHECK(
      have[0].sym_eq(need[0]).sym_and(have[1].sym_eq(need[1])), op, ": mask has shape ", have,
      ", but the shape of weight ", need, " is needed");
}

// The last dimension of t is dimension `dim` of the matrix.
void check_features(
    const char* op, const char* name, const Tensor& t, const char* matrix_name, const Tensor& matrix, int dim) {
  TORCH_CHECK(t.dim() >= 1, op, ": ", name, " has no dimensions, but [..., ", dim == 1 ? "in" : "out", "] is needed");
  const auto need = matrix.sym_sizes()[dim];
  TORCH_SYM_CHECK(
      t.sym_sizes().back().sym_eq(need), op, ": ", name, " has shape ", t.sym_sizes(),
      ", but its last dimension needs size ", need, ", as ", matrix_name, " has shape ", matrix.sym_sizes());
}

} // namespace

void check_masked_linear(const Tensor& x, const Tensor& weight, const Tensor& mask, const std::optional<Tensor>& bias) {
  constexpr auto op = "masked_linear";
  check_dtype(op, "x", x);
  check_same_kind(op, "weight", weight, "x", x);
  check_weight_and_mask(op, weight, mask);
  check_features(op, "x", x, "weight", weight, 1);
  if (bias.has_value()) {
    check_same_kind(op, "bias", *bias, "x", x);
    TORCH_CHECK(bias->dim() == 1, op, ": bias has shape ", bias->sym_sizes(), ", but one dimension [out] is needed");
    check_features(op, "bias", *bias, "weight", weight, 0);
  }
}

void check_grad_input(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  constexpr auto op = "masked_linear_grad_input";
  check_dtype(op, "grad", grad);
  check_same_kind(op, "weight", weight, "grad", grad);
  check_weight_and_mask(op, weight, mask);
  check_features(op, "grad", grad, "weight", weight, 0);
}

void check_grad_weight(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  constexpr auto op = "masked_linear_grad_weight";
  check_dtype(op, "grad", grad);
  check_same_kind(op, "x", x, "grad", grad);
  check_mask(op, mask);
  check_device(op, "mask", mask, "grad", grad);
  check_features(op, "grad", grad, "mask", mask, 0);
  check_features(op, "x", x, "mask", mask, 1);
  TORCH_CHECK(
      x.dim() == grad.dim(), op, ": x has shape ", x.sym_sizes(), ", but the leading dimensions of grad ",
      grad.sym_sizes(), " are needed");
  for (int64_t d = 0; d + 1 < x.dim(); ++d) {
    TORCH_SYM_CHECK(
        x.sym_sizes()[d].sym_eq(grad.sym_sizes()[d]), op, ": x has shape ", x.sym_sizes(),
        ", but the leading dimensions of grad ", grad.sym_sizes(), " are needed");
  }
}

} // namespace prunesweep
