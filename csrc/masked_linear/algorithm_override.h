// PRUNE_MASKED_LINEAR, for tests and for measuring the thresholds between the ways of the masked linear layer.

#pragma once

#include <c10/util/Exception.h>

#include <cstdlib>
#include <string>

namespace prunesweep {

// dense, fused or sparse; empty where nothing is asked. A way that cannot do a product leaves it to the dense one.
inline std::string algorithm_override() {
  const char* const asked = std::getenv("PRUNE_MASKED_LINEAR");
  const std::string way = asked ? asked : "";
  TORCH_CHECK(
      way.empty() || way == "dense" || way == "fused" || way == "sparse",
      "PRUNE_MASKED_LINEAR is '", way, "', but dense, fused or sparse is needed");
  return way;
}

} // namespace prunesweep
