// What the kernels of the global top-k share: the memory they work on, and where a chunk is.

#pragma once

#include "global_mask/cuda/keys.cuh"
#include "global_mask/cuda/range.cuh"
#include "global_mask/cuda/topk.h"

namespace prunesweep::cuda {

// Keys between which the threshold is expected. A pass over the scores collects those in [low, high] or, with ties,
// that is, where those equal to an end would be too many, in (low, high), and then gives the mask of an end's keys a
// code.
template <typename K>
struct Bracket {
  K low, high;
  bool ties;
};

// Values of the mask other than 0 and 1, until it is known which of the elements with such a value are kept.
constexpr uint32_t kAtHigh = 2;
constexpr uint32_t kAtLow = 3; // not if it equals high
constexpr uint32_t kTied = 4; // a collected key equal to the threshold

enum class Stage {
  kDone, // nothing to be kept, or an error
  kMarked, // the threshold is in the bracket: select it among the collected keys, if it is not known
  kMissed, // select it among all scores
};

template <typename K>
struct State {
  Bracket<K> bracket;
  // counts of the pass over the scores
  unsigned long long above, at_high, at_low, collected, available;
  unsigned long long first_nan; // chunk * kChunk + offset

  Stage stage;
  Range<K> range; // narrowed down to the threshold: then rank + 1 of the `size` ties are kept
  unsigned long long digits[kDigits];
  unsigned blocks_done;

  // Ties before this chunk are kept, in it the first `cut_ties`, after it none.
  int64_t cut_chunk;
  uint32_t cut_ties;
};

template <typename K>
struct Work {
  const DevicePiece* pieces;
  int64_t piece_count;
  int64_t total; // elements
  int64_t chunks;
  int64_t keep;

  K* sample;
  int64_t sample_size;
  int64_t from, to; // ranks in the sample between which the threshold is expected; may be out of range

  K* keys; // collected, a chunk's together
  uint16_t* offsets; // of the keys in their chunks
  int64_t capacity;

  // by chunk
  uint32_t* piece_of;
  unsigned long long* collected_begin;
  uint32_t* collected_size;
  uint32_t* at_high;
  uint32_t* at_low;
  uint32_t* tied;

  State<K>* state;
  TopkResult* result;
};

struct Place {
  const DevicePiece& piece;
  int64_t begin; // of the chunk in its piece
  int count; // of its elements

  __device__ uint8_t* mask() const {
    return piece.mask + begin;
  }
};

template <typename K>
__device__ Place place_of(const Work<K>& work, int64_t chunk) {
  const DevicePiece& piece = work.pieces[work.piece_of[chunk]];
  const int64_t begin = (chunk - piece.first_chunk) * kChunk;
  const int64_t left = piece.size - begin;
  return {piece, begin, static_cast<int>(left < kChunk ? left : kChunk)};
}

// body(key) for each `threads`-th key, from `thread` on.
template <typename K, typename Body>
__device__ void for_each_listed(const K* keys, int64_t size, int64_t thread, int64_t threads, const Body& body) {
  constexpr int kAhead = 8; // loads in flight, which the compiler does not move over the body's atomics
  for (int64_t first = thread; first < size; first += threads * kAhead) {
    K ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      ahead[i] = first + i * threads < size ? keys[first + i * threads] : kOutside<K>;
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      body(ahead[i]);
    }
  }
}

// The piece that `position` is in, where `start` is the member with a piece's first position.
template <typename K>
__device__ int64_t find_piece(const Work<K>& work, int64_t DevicePiece::* start, int64_t position) {
  int64_t first = 0;
  int64_t last = work.piece_count - 1;
  while (first < last) {
    const int64_t middle = (first + last + 1) / 2;
    if (work.pieces[middle].*start <= position) {
      first = middle;
    } else {
      last = middle - 1;
    }
  }
  return first;
}

// Which ends of the bracket the codes in the masks mean, and whether there are any, once the threshold is known.
template <typename K>
__device__ Bracket<K> coded_bracket(const State<K>& state) {
  return state.stage == Stage::kMissed ? Bracket<K>{state.range.low, state.range.low, true} : state.bracket;
}

// Whether the threshold is one of the collected keys, so that its ties have no code.
template <typename K>
__device__ bool threshold_is_collected(const Bracket<K>& coded, K threshold) {
  return !coded.ties || (threshold != coded.high && threshold != coded.low);
}

} // namespace prunesweep::cuda
