#include "masked_linear/cuda/choose_algorithm.h"

#include "masked_linear/common/algorithm_override.h"
#include "masked_linear/cuda/fused.h"
#include "masked_linear/cuda/pad.h"
#include "masked_linear/cuda/sparse.h"

#include <ATen/Context.h>

namespace prunesweep::cuda {
namespace {

// Up to how many rows the fused algorithm is used, and up to which density the sparse one: with more rows, and with
// that few. From benchmarks/masked_linear.py with PRUNE_MASKED_LINEAR=dense, fused and sparse on an H200: docs/gpu.md
// has the figures.
struct Thresholds {
  int64_t fused_rows;
  double sparse, sparse_few_rows;
};

constexpr Thresholds kFloat32 = {64, 0.12, 0.05}; // IEEE
constexpr Thresholds kTf32 = {128, 0.02, 0.015};
constexpr Thresholds kHalves = {128, 0.004, 0.004}; // bfloat16, float16
constexpr Thresholds kHalvesOdd = {128, 0.01, 0.01}; // with a size for which the dense algorithm has to copy

// With few rows, smaller layers are done before the sparse kernels have all multiprocessors busy.
constexpr int64_t kFewestSparse = int64_t{1} << 21;

} // namespace

bool allows_tf32(const at::Tensor& t) {
  using namespace at;
  // the older getter, allowTF32CuBLAS, raises where the setting was made by fp32_precision
  return t.scalar_type() == kFloat &&
      globalContext().float32Precision(Float32Backend::CUDA, Float32Op::MATMUL) == Float32Precision::TF32;
}

Algorithm choose_algorithm(const Plan* plan, const at::Tensor& rows) {
  static const auto forced = algorithm_override();
  if (!plan || plan->kept == 0 || rows.size(0) == 0 || rows.scalar_type() == at::kDouble || forced == "dense" ||
      !has_large_shared_memory()) {
    return Algorithm::kDense;
  }
  const auto dtype = dtype_of(rows);
  const bool can_fuse = fused_supports(dtype, rows.size(0), plan->columns, plan->rows);
  const bool can_sparse = plan->pattern && sparse_supports(dtype, plan->columns, plan->rows);
  if (forced == "fused") {
    return can_fuse ? Algorithm::kFused : Algorithm::kDense;
  }
  if (forced == "sparse") {
    return can_sparse ? Algorithm::kSparse : Algorithm::kDense;
  }
  const auto is_odd = [&](int64_t size) { return padded(size, rows.element_size()) != size; };
  const auto& limits = dtype == Dtype::kFloat       ? (allows_tf32(rows) ? kTf32 : kFloat32)
      : is_odd(plan->rows) || is_odd(plan->columns) ? kHalvesOdd
                                                    : kHalves;
  const bool few_rows = rows.size(0) <= limits.fused_rows;
  const double most = !few_rows                     ? limits.sparse
      : plan->rows * plan->columns >= kFewestSparse ? limits.sparse_few_rows
                                                    : 0;
  return can_sparse && plan->density() <= most ? Algorithm::kSparse
      : can_fuse && few_rows                   ? Algorithm::kFused
                                               : Algorithm::kDense;
}

} // namespace prunesweep::cuda
