#include "masked_linear_dispatch.h"

#include <cstdlib>
#include <string>

namespace prunesweep {
namespace {

// For tests and for measuring the thresholds: PRUNE_MASKED_LINEAR=dense or sparse, read once.
std::string forced() {
  const char* const asked = std::getenv("PRUNE_MASKED_LINEAR");
  const std::string way = asked ? asked : "";
  TORCH_CHECK(
      way.empty() || way == "dense" || way == "sparse",
      "PRUNE_MASKED_LINEAR is '", way, "', but dense or sparse is needed");
  return way;
}

} // namespace

bool worth_a_plan(const at::Tensor& mask) {
  static const bool always = forced() == "sparse";
  return mask.numel() >= (always ? 1 : 4096);
}

Ways choose_ways(const Plan* plan, const at::Tensor& rows) {
  static const auto way = forced();
  if (!plan || rows.scalar_type() != at::kFloat || rows.size(0) == 0 || way == "dense") {
    return {Way::kDense, Way::kDense, Way::kDense};
  }
  if (way == "sparse") {
    return {Way::kSparse, Way::kSparse, Way::kSparse};
  }
  const double density = plan->density();
  const auto below = [&](double threshold) { return density < threshold ? Way::kSparse : Way::kDense; };
  return {below(0.4), below(0.4), below(0.3)};
}

} // namespace prunesweep
