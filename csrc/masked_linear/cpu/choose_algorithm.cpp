#include "masked_linear/cpu/choose_algorithm.h"

#include "masked_linear/common/algorithm_override.h"

#include <limits>

namespace prunesweep {
namespace {

// Densities below which the sparse algorithm is used. From benchmarks/masked_linear_thresholds.py with
// PRUNE_MASKED_LINEAR=sparse on an Intel Sapphire Rapids server (AVX-512); the comments give the break-even densities.
struct Row {
  int64_t least_weights, most_inputs, most_rows;
  double output, grad_input, grad_weight;
};

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
constexpr int64_t kLarge = int64_t{1} << 23; // from here on the masked copy takes longer than the product of few rows

constexpr Row kThresholds[] = {
    {kLarge, kAny, 64, 0.70, 0.70, 0.70}, // break-even with 1 to 64 rows: above 0.7
    {0, kAny, 8, 0.32, 0.20, 0.15}, // with 1 to 8: 0.25 to 0.6, 0.22 to 0.3, 0.12 to 0.3
    {0, kAny, 47, 0.45, 0.35, 0.20}, // with 16: 0.5 to 0.6, 0.32 to 0.45, 0.18 to 0.35; with 32: 0.6, 0.42, 0.3
    {0, kAny, 64, 0.60, 0.45, 0.32}, // with 64: 0.65 or above, 0.5, 0.35
    {0, 2048, 128, 0.60, 0.45, 0.32}, // with 128: 0.7, 0.55, 0.5
    {0, 2048, 255, 0.45, 0.35, 0.28}, // with 200: 0.5, 0.4 or above, 0.37
    {0, 2048, kAny, 0.50, 0.45, 0.40}, // 0.5 or above; 0.5, with 2048 inputs 0.45; 0.45
    {0, kAny, kAny, 0.45, 0.40, 0.32}, // 4096 x 4096: 0.5; 0.45; 0.45, with 1024 rows 0.32 to 0.45
};

// Below this density autocast keeps the layer in float32. From the same command with --autocast.
constexpr double kFloat32Threshold = 0.03;

} // namespace

bool worth_a_plan(const at::Tensor& mask) {
  static const bool always = algorithm_override() == "sparse";
  return mask.numel() >= (always ? 1 : 4096);
}

Algorithms choose_algorithms(const Plan* plan, const at::Tensor& rows) {
  static const auto forced = algorithm_override();
  if (!plan || rows.scalar_type() != at::kFloat || rows.size(0) == 0 || forced == "dense" || forced == "fused") {
    return {Algorithm::kDense, Algorithm::kDense, Algorithm::kDense};
  }
  if (forced == "sparse") {
    return {Algorithm::kSparse, Algorithm::kSparse, Algorithm::kSparse};
  }
  const Row* row = kThresholds;
  while (plan->rows * plan->columns < row->least_weights || plan->columns > row->most_inputs ||
         rows.size(0) > row->most_rows) {
    ++row;
  }
  const auto algorithm_below = [density = plan->density()](double threshold) {
    return density < threshold ? Algorithm::kSparse : Algorithm::kDense;
  };
  return {algorithm_below(row->output), algorithm_below(row->grad_input), algorithm_below(row->grad_weight)};
}

bool better_in_float32(const at::Tensor& mask) {
  static const auto forced = algorithm_override();
  if (forced == "dense" || forced == "fused" || !worth_a_plan(mask)) {
    return false;
  }
  const auto plan = plan_of(mask);
  return plan && (forced == "sparse" || plan->density() < kFloat32Threshold);
}

} // namespace prunesweep
