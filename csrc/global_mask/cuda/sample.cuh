// The bracket of the threshold, from a sample, before the pass over the scores; and the next step after that pass.

#pragma once

#include "global_mask/cuda/work.cuh"

namespace prunesweep::cuda {

constexpr int kSampleThreads = 1024;

// splitmix64 (Steele, Lea and Flood 2014): the same numbers in every call
__device__ inline uint64_t mixed(uint64_t i) {
  uint64_t z = (i + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

// Takes the sample, one element at random in each of equal slices, so that sorted and periodic data are sampled
// well, too; and finds the pieces of the chunks.
template <typename S>
__global__ void take_sample(const Work<typename S::Key> work) {
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t chunk = first; chunk < work.chunks; chunk += step) {
    work.piece_of[chunk] = static_cast<uint32_t>(find_piece(work, &DevicePiece::first_chunk, chunk));
  }
  for (int64_t i = first; i < work.sample_size; i += step) {
    const int64_t longer = work.total % work.sample_size; // the first slices have one element more
    const int64_t slice = work.total / work.sample_size;
    const int64_t start = slice * i + (i < longer ? i : longer);
    const auto room = static_cast<uint64_t>(slice + (i < longer));
    const int64_t position = start + static_cast<int64_t>(__umul64hi(mixed(i), room));
    const DevicePiece& piece = work.pieces[find_piece(work, &DevicePiece::begin, position)];
    work.sample[i] = key_at<S>(piece, position - piece.begin);
  }
}

// One block: sets up the state. The bracket's ends are the sample's keys of the ranks `from` and `to`.
template <typename K>
__global__ void __launch_bounds__(kSampleThreads) find_bracket(const Work<K> work) {
  __shared__ uint32_t digits[2][kDigits];
  __shared__ Range<K> ends[2]; // high, low
  __shared__ unsigned values;
  auto& state = *work.state;
  const int thread = threadIdx.x;
  if (thread == 0) {
    values = 0;
  }
  __syncthreads();
  unsigned own = 0;
  for_each_listed(work.sample, work.sample_size, thread, kSampleThreads, [&](K key) { own += is_value(key); });
  atomicAdd(&values, own);
  __syncthreads();
  const int64_t last = int64_t{values} - 1; // rank
  const int64_t from = work.from < 0 ? 0 : work.from < last ? work.from : last;
  const int64_t to = work.to < last ? work.to : last;
  if (thread == 0) {
    ends[0] = range_of<K>(-kInfinity<K>, kInfinity<K>, from, values);
    ends[1] = range_of<K>(-kInfinity<K>, kInfinity<K>, to, values);
  }
  for (int step = 0; step < kSteps<K> && last >= 0; ++step) {
    for (int d = thread; d < kDigits; d += kSampleThreads) {
      digits[0][d] = digits[1][d] = 0;
    }
    __syncthreads();
    const Range<K> high = ends[0];
    const Range<K> low = ends[1];
    for_each_listed(work.sample, work.sample_size, thread, kSampleThreads, [&](K key) {
      if (high.contains(key)) {
        atomicAdd(&digits[0][high.digit(key)], 1u);
      }
      if (low.contains(key)) {
        atomicAdd(&digits[1][low.digit(key)], 1u);
      }
    });
    __syncthreads();
    narrow<kSampleThreads>(high, digits[0], &ends[0]);
    narrow<kSampleThreads>(low, digits[1], &ends[1]);
    __syncthreads();
  }
  for (int d = thread; d < kDigits; d += kSampleThreads) {
    state.digits[d] = 0;
  }
  if (thread == 0) {
    if (work.keep == 0) { // everything below it
      state.bracket = {kLargest<K>, kLargest<K>, false};
    } else if (last < 0) {
      state.bracket = {-kInfinity<K>, kInfinity<K>, false};
    } else {
      const bool open_above = work.from < 0;
      const bool open_below = work.to > last;
      const int64_t above = open_above ? 0 : from - static_cast<int64_t>(ends[0].rank);
      const int64_t reached = open_below ? last + 1 : to - static_cast<int64_t>(ends[1].rank - ends[1].size);
      state.bracket = {
          open_below ? -kInfinity<K> : ends[1].low, open_above ? kInfinity<K> : ends[0].low,
          work.sample_size == work.total || reached - above > 2 * (to - from + 1)};
    }
    state.above = state.at_high = state.at_low = state.collected = state.available = 0;
    state.first_nan = ~0ull;
    state.blocks_done = 0;
  }
}

// One thread, after the pass over the scores: where to search for the threshold.
template <typename K>
__global__ void choose_stage(const Work<K> work) {
  auto& state = *work.state;
  const auto available = static_cast<int64_t>(state.available);
  TopkResult result = {from_key(kInfinity<K>), 0, available, -1, -1};
  if (state.first_nan != ~0ull) {
    const auto chunk = static_cast<int64_t>(state.first_nan / kChunk);
    const DevicePiece& piece = work.pieces[work.piece_of[chunk]];
    result.first_nan_piece = piece.index;
    result.first_nan_index = (chunk - piece.first_chunk) * kChunk + static_cast<int64_t>(state.first_nan % kChunk);
  }
  *work.result = result;
  if (work.keep == 0 || work.keep > available || state.first_nan != ~0ull) {
    state.stage = Stage::kDone;
    return;
  }
  const Bracket<K> bracket = state.bracket;
  const auto above = static_cast<int64_t>(state.above);
  const auto at_high = static_cast<int64_t>(state.at_high);
  const auto at_low = static_cast<int64_t>(state.at_low);
  const auto collected = static_cast<int64_t>(state.collected);
  const bool complete = collected <= work.capacity;
  int64_t rank = work.keep - 1;
  if (rank < above) {
    state.stage = Stage::kMissed;
    state.range = range_of<K>(bracket.high + 1, kInfinity<K>, rank, above);
    return;
  }
  rank -= above;
  if (rank < at_high) {
    state.stage = Stage::kMarked;
    state.range = range_of<K>(bracket.high, bracket.high, rank, at_high);
    return;
  }
  rank -= at_high;
  if (rank < collected) {
    const K inner = bracket.ties ? 1 : 0;
    state.stage = complete ? Stage::kMarked : Stage::kMissed;
    state.range = range_of<K>(bracket.low + inner, bracket.high - inner, rank, collected);
    return;
  }
  rank -= collected;
  if (rank < at_low) {
    state.stage = complete ? Stage::kMarked : Stage::kMissed;
    state.range = range_of<K>(bracket.low, bracket.low, rank, at_low);
    return;
  }
  rank -= at_low;
  state.stage = Stage::kMissed;
  state.range = range_of<K>(-kInfinity<K>, bracket.low - 1, rank, available - above - at_high - collected - at_low);
}

} // namespace prunesweep::cuda
