// Exact selection of the `keep` highest scores over a list of arrays, on the device; what is selected is in
// ../checks.h.
//
// A sample brackets the threshold. One pass over the scores writes the masks as if the bracket's upper end were the
// threshold, and collects the few keys inside the bracket; the threshold is selected among these, and their masks are
// corrected. A bracket that misses the threshold, or that holds too much, only costs further passes over the scores.
// All of that is decided on the device.

#pragma once

#include "common/cuda/runtime.h"

#include <vector>

namespace prunesweep::cuda {

struct Piece {
  const void* scores;
  const void* weights; // null: select on the scores, else on the products, rounded to the dtype
  const uint8_t* within; // null: select among all elements, else among those where it is not 0
  uint8_t* mask; // written: 1 = kept, 0 = not
  int64_t size;
};

struct TopkResult {
  double threshold; // the smallest kept score; +inf for keep = 0
  int64_t ties; // how many of the scores selected from equal the threshold; 0 for keep = 0
  int64_t available; // how many there are to select from
  int64_t first_nan_piece, first_nan_index; // the first NaN among them; -1: none
};

// Writes the masks, and `result`, which is device memory. With a NaN or keep > result->available the masks and the
// threshold are meaningless, which the caller has to check. keep >= 0. `pieces` is not needed after this returns.
void topk_masks(
    const std::vector<Piece>& pieces, Dtype dtype, int64_t keep, TopkResult* result, const Allocate& allocate,
    cudaStream_t stream);

} // namespace prunesweep::cuda
