#include "global_mask/checks.h"

namespace prunesweep {
namespace {

using at::Tensor;

void check_tensor(const char* name, size_t i, const Tensor& t, at::ScalarType dtype, const Tensor& like) {
  TORCH_CHECK(
      t.scalar_type() == dtype, "global_mask: ", name, "[", i, "] has dtype ", t.scalar_type(), ", but ", dtype,
      " is needed");
  TORCH_CHECK(
      t.device() == like.device(), "global_mask: ", name, "[", i, "] is on ", t.device(), ", but ", like.device(),
      " is needed");
}

void check_companions(const char* name, const OptionalTensorList& list, at::TensorList scores, at::ScalarType dtype) {
  if (!list) {
    return;
  }
  TORCH_CHECK_VALUE(
      list->size() == scores.size(), "global_mask: ", name, " has ", list->size(), " tensors, but scores has ",
      scores.size(), "; one for each is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto& t = (*list)[i];
    check_tensor(name, i, t, dtype, scores[i]);
    TORCH_CHECK(
        t.sym_sizes().equals(scores[i].sym_sizes()), "global_mask: ", name, "[", i, "] has shape ", t.sym_sizes(),
        ", but the shape of scores[", i, "] ", scores[i].sym_sizes(), " is needed");
  }
}

} // namespace

void check_global_mask(at::TensorList scores, const OptionalTensorList& weights, const OptionalTensorList& within) {
  TORCH_CHECK_VALUE(!scores.empty(), "global_mask: scores is an empty list, but at least one tensor is needed");
  const auto dtype = scores[0].scalar_type();
  const bool on_cpu = scores[0].device().is_cpu();
  TORCH_CHECK(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || (dtype == at::kHalf && !on_cpu),
      "global_mask: scores[0] has dtype ", dtype, ", but float32, float64", on_cpu ? "" : ", float16",
      " or bfloat16 is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    check_tensor("scores", i, scores[i], dtype, scores[0]);
  }
  check_companions("weights", weights, scores, dtype);
  check_companions("within", within, scores, at::kBool);
}

} // namespace prunesweep
