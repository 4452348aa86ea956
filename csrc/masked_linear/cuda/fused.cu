#include "masked_linear/cuda/fused.h"

namespace prunesweep::cuda {

bool fused_supports(Dtype dtype, int64_t rows, int64_t n_in, int64_t n_out) {
  constexpr int64_t kMost =
      int64_t{1} << 20; // keeps grids and the columns of a row within what a launch and an int can do
  return dtype != Dtype::kDouble && rows > 0 && rows <= 256 && n_in > 0 && n_in <= kMost && n_out > 0 && n_out <= kMost;
}

} // namespace prunesweep::cuda
