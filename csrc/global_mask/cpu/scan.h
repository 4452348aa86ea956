// The passes over the scores, one table of functions per instruction set; scan_body.h has the code.
//
// All take a range [first, last) of positions in the sequence of all elements, and are called by one thread per range.

#pragma once

#include "global_mask/cpu/pieces.h"

#include <memory>

namespace prunesweep {

// Keys and their positions (relative to the first of the range), in order of position.
template <typename K>
struct Candidates {
  std::unique_ptr<K[]> keys;
  std::unique_ptr<uint32_t[]> offsets;
  int64_t size = 0;
  int64_t capacity = 0;
  int64_t limit = 0; // once more than these are met, `overflow` is set and no more are collected
  bool overflow = false;

  void reserve(int64_t new_capacity);
};

// What a pass over a range has found. "Between" excludes the ends of the bracket in `count`, includes them in `mark`.
template <typename K>
struct Found {
  bool nan = false;
  int64_t above = 0; // keys > high
  int64_t at_high = 0; // count only
  int64_t at_low = 0; // count only; equal to at_high if low == high
  Candidates<K> between;
};

template <typename scalar_t>
struct Scans {
  using K = Key<scalar_t>;

  // Reads runs of up to kLine positions, in ascending order, into kLine keys each: kOutside where a run is shorter, and
  // for an element that is not selected from.
  void (*sample)(const Pieces<scalar_t>&, const int64_t* begins, const int64_t* ends, int64_t lines, K* keys);

  // Writes the masks as if `high` were the last key that is not kept, and collects the keys in [low, high].
  void (*mark)(const Pieces<scalar_t>&, int64_t first, int64_t last, K low, K high, Found<K>&);

  // Writes nothing; collects the keys in (low, high) and counts those at the ends.
  void (*count)(const Pieces<scalar_t>&, int64_t first, int64_t last, K low, K high, Found<K>&);

  // Writes the masks: all keys above the threshold, and the first `ties` of those equal to it.
  void (*write)(const Pieces<scalar_t>&, int64_t first, int64_t last, K threshold, int64_t ties);

  // Copies the keys in [low, high] to `out`, unless they are more than `capacity`; returns how many there are, and in
  // `above` how many keys are > high.
  int64_t (*sift)(const K* keys, int64_t size, K low, K high, K* out, int64_t capacity, int64_t* above);
};

constexpr int64_t kLine = 16; // keys of a sampled run: a cache line of float32

// For the chosen instruction set.
template <typename scalar_t>
const Scans<scalar_t>& scans(bool weights, bool within);

} // namespace prunesweep
