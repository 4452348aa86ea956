#include "dispatch.h"

#include "fused.h"
#include "sparse.h"

#include <ATen/Context.h>

#include <cstdlib>
#include <string>

namespace prunesweep::cuda {
namespace {

// Densities below which the sparse way is taken, and the most rows for which the fused one is.
struct Thresholds {
  int64_t fused_rows;
  double output, grad_input, grad_weight;
};

constexpr Thresholds kFloat32 = {128, 0.10, 0.10, 0.10}; // IEEE
constexpr Thresholds kTf32 = {256, 0.02, 0.02, 0.01};
constexpr Thresholds kHalves = {256, 0.01, 0.01, 0}; // bfloat16, float16

// For tests and for measuring the thresholds: PRUNE_MASKED_LINEAR=dense, fused or sparse, read once; a way that cannot do a product
// leaves it to the dense one.
std::string forced() {
  const char* const asked = std::getenv("PRUNE_MASKED_LINEAR");
  const std::string way = asked ? asked : "";
  TORCH_CHECK(
      way.empty() || way == "dense" || way == "fused" || way == "sparse",
      "PRUNE_MASKED_LINEAR is '", way, "', but dense, fused or sparse is needed");
  return way;
}

} // namespace

bool allows_tf32(const at::Tensor& t) {
  return t.scalar_type() == at::kFloat && at::globalContext().allowTF32CuBLAS();
}

Ways choose_ways(const Plan* plan, const at::Tensor& rows) {
  static const auto way = forced();
  constexpr Ways kAllDense{Way::kDense, Way::kDense, Way::kDense};
  if (!plan || plan->kept == 0 || rows.size(0) == 0 || rows.scalar_type() == at::kDouble || way == "dense") {
    return kAllDense;
  }
  const auto dtype = dtype_of(rows);
  const bool can_fuse = fused_supports(dtype, rows.size(0), plan->columns, plan->rows);
  const bool can_sparse = plan->pattern && sparse_supports(dtype, plan->columns, plan->rows);
  if (way == "fused") {
    return can_fuse ? Ways{Way::kFused, Way::kFused, Way::kFused} : kAllDense;
  }
  if (way == "sparse") {
    return can_sparse ? Ways{Way::kSparse, Way::kSparse, Way::kSparse} : kAllDense;
  }
  const auto& limits = dtype != Dtype::kFloat ? kHalves : allows_tf32(rows) ? kTf32 : kFloat32;
  const auto other = can_fuse && rows.size(0) <= limits.fused_rows ? Way::kFused : Way::kDense;
  const auto choose = [&](double threshold) {
    return can_sparse && plan->density() < threshold ? Way::kSparse : other;
  };
  return {choose(limits.output), choose(limits.grad_input), choose(limits.grad_weight)};
}

} // namespace prunesweep::cuda
