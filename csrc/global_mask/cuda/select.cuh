// After the pass over the scores: the threshold, and where its ties are cut.

#pragma once

#include "global_mask/cuda/mark.cuh"

namespace prunesweep::cuda {

constexpr int kSelectThreads = 512;
constexpr int kCutThreads = 1024;

// body(key) for each key among which the threshold is searched, and for some kOutside.
template <typename S, typename Body>
__device__ void for_each_key(const Work<typename S::Key>& work, Stage stage, const Body& body) {
  using K = typename S::Key;
  const int64_t thread = int64_t{blockIdx.x} * kSelectThreads + threadIdx.x;
  const int64_t threads = int64_t{gridDim.x} * kSelectThreads;
  if (stage == Stage::kMarked) {
    for_each_listed(work.keys, static_cast<int64_t>(work.state->collected), thread, threads, body);
    return;
  }
  for (int64_t chunk = thread / kChunkThreads; chunk < work.chunks; chunk += threads / kChunkThreads) {
    const Place place = place_of(work, chunk);
    K keys[kItems];
    const uint32_t inside = load_keys<S>(place.piece, place.begin, place.count, threadIdx.x % kChunkThreads, keys);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      body(inside >> bit_of(i) & 1 ? keys[i] : kOutside<K>);
    }
  }
}

// One step of the select. The last block to be done narrows the range.
template <typename S>
__global__ void __launch_bounds__(kSelectThreads) select_digit(const Work<typename S::Key> work) {
  using K = typename S::Key;
  auto& state = *work.state;
  const Stage stage = state.stage;
  if (stage == Stage::kDone || state.range.bits == 0) {
    return;
  }
  const Range<K> range = state.range;
  const int thread = threadIdx.x;
  __shared__ uint32_t digits[kDigits]; // enough: a block meets far fewer than 2^32 keys
  for (int d = thread; d < kDigits; d += kSelectThreads) {
    digits[d] = 0;
  }
  __syncthreads();
  for_each_key<S>(work, stage, [&](K key) {
    if (range.contains(key)) {
      atomicAdd(&digits[range.digit(key)], 1u);
    }
  });
  __syncthreads();
  for (int d = thread; d < kDigits; d += kSelectThreads) {
    if (digits[d] != 0) {
      atomicAdd(&state.digits[d], static_cast<unsigned long long>(digits[d]));
    }
  }
  __threadfence();
  __syncthreads();
  __shared__ bool last;
  if (thread == 0) {
    last = atomicAdd(&state.blocks_done, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last) {
    return;
  }
  __threadfence();
  __shared__ unsigned long long totals[kDigits];
  for (int d = thread; d < kDigits; d += kSelectThreads) {
    totals[d] = __ldcg(&state.digits[d]);
    state.digits[d] = 0; // for the next step
  }
  if (thread == 0) {
    state.blocks_done = 0;
  }
  __syncthreads();
  narrow<kSelectThreads>(range, totals, &state.range);
}

// With the threshold known: keeps the collected keys above it, and counts by chunk those equal to it unless they are
// all kept; or marks again, with the threshold for a bracket.
template <typename S>
__global__ void __launch_bounds__(kChunkThreads) settle(const Work<typename S::Key> work) {
  using K = typename S::Key;
  const auto& state = *work.state;
  if (state.stage == Stage::kDone) {
    return;
  }
  const K threshold = state.range.low;
  const Bracket<K> coded = coded_bracket(state);
  const int thread = threadIdx.x;
  if (state.stage == Stage::kMissed) {
    __shared__ uint32_t ties;
    for (int64_t chunk = blockIdx.x; chunk < work.chunks; chunk += gridDim.x) {
      if (thread == 0) {
        ties = 0;
      }
      __syncthreads();
      const Place place = place_of(work, chunk);
      K keys[kItems];
      const uint32_t inside = load_keys<S>(place.piece, place.begin, place.count, thread, keys);
      add_pair(&ties, mark<S>(keys, inside, coded, place, thread).at_high, 0);
      __syncthreads();
      if (thread == 0) {
        work.at_high[chunk] = ties;
      }
    }
    return;
  }
  if (coded.ties && threshold == coded.high) {
    return; // the collected keys are all below it
  }
  const bool keep_ties = state.range.rank + 1 == state.range.size;
  const int lane = thread % 32;
  const int64_t warps = int64_t{gridDim.x} * (kChunkThreads / 32);
  for (int64_t chunk = (int64_t{blockIdx.x} * kChunkThreads + thread) / 32; chunk < work.chunks; chunk += warps) {
    const auto size = static_cast<int64_t>(work.collected_size[chunk]);
    const auto begin = static_cast<int64_t>(work.collected_begin[chunk]);
    uint8_t* mask = place_of(work, chunk).mask();
    uint32_t ties = 0;
    for (int64_t i = begin + lane; i < begin + size; i += 32) {
      const K key = work.keys[i];
      if (key > threshold || (key == threshold && keep_ties)) {
        mask[work.offsets[i]] = 1;
      }
      ties += key == threshold;
    }
    ties = __reduce_add_sync(0xffffffff, ties);
    if (lane == 0) {
      work.tied[chunk] = ties;
    }
  }
}

// One block: finds the chunk in which the ties are cut, and reports.
template <typename K>
__global__ void __launch_bounds__(kCutThreads) find_cut(const Work<K> work) {
  auto& state = *work.state;
  if (state.stage == Stage::kDone) {
    return;
  }
  const Range<K> range = state.range;
  const int thread = threadIdx.x;
  if (thread == 0) {
    work.result->threshold = from_key(range.low);
    work.result->ties = static_cast<int64_t>(range.size);
  }
  const unsigned long long kept = range.rank + 1;
  if (kept == range.size) {
    if (thread == 0) {
      state.cut_chunk = work.chunks;
      state.cut_ties = 0;
    }
    return;
  }
  const Bracket<K> coded = coded_bracket(state);
  const uint32_t* ties = threshold_is_collected(coded, range.low) ? work.tied
      : range.low == coded.high                                   ? work.at_high
                                                                  : work.at_low;
  const int64_t first = work.chunks * thread / kCutThreads;
  const int64_t last = work.chunks * (thread + 1) / kCutThreads;
  unsigned long long own = 0;
#pragma unroll 8
  for (int64_t chunk = first; chunk < last; ++chunk) {
    own += ties[chunk];
  }
  unsigned long long before = sum_before<kCutThreads>(own);
  if (before <= kept && kept - before < own) {
    int64_t chunk = first;
    while (kept - before >= ties[chunk]) {
      before += ties[chunk++];
    }
    state.cut_chunk = chunk;
    state.cut_ties = static_cast<uint32_t>(kept - before);
  }
}

} // namespace prunesweep::cuda
