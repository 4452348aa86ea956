// PRUNE_MASKED_LINEAR, for tests and for measuring the thresholds between the algorithms of the masked linear layer.

#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace prunesweep {

// dense, fused or sparse; empty if unset. Products that the algorithm does not support are computed by the dense one.
inline std::string algorithm_override() {
  const char* const variable = std::getenv("PRUNE_MASKED_LINEAR");
  const std::string algorithm = variable ? variable : "";
  TORCH_CHECK(
      algorithm.empty() || algorithm == "dense" || algorithm == "fused" || algorithm == "sparse",
      "PRUNE_MASKED_LINEAR is '", algorithm, "', but dense, fused or sparse is needed");
  return algorithm;
}

} // namespace prunesweep
