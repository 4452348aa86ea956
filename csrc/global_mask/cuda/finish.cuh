// The last step: masks of the elements that equal the threshold, and of those that still have a code.

#pragma once

#include "global_mask/cuda/work.cuh"

namespace prunesweep::cuda {

// Writes `code` to the masks of a chunk's collected keys that equal the threshold.
template <typename K>
__device__ void mark_tied(
    const Work<K>& work, int64_t chunk, K threshold, uint32_t code, uint8_t* mask, int thread, int threads) {
  const auto begin = static_cast<int64_t>(work.collected_begin[chunk]);
  const auto end = begin + work.collected_size[chunk];
  for (int64_t i = begin + thread; i < end; i += threads) {
    if (work.keys[i] == threshold) {
      mask[work.offsets[i]] = static_cast<uint8_t>(code);
    }
  }
}

// Makes 0 and 1 of a chunk's codes. `tied`: the code of the ties, of which the first `kept_ties` are kept; `kept`: a
// code whose elements are all kept. What has any other code is not kept. All threads of the block have to call it.
__device__ inline void resolve(uint8_t* mask, int count, uint32_t kept, uint32_t tied, uint32_t kept_ties) {
  const int first = static_cast<int>(threadIdx.x) * kItems; // neighbours, so that the order of the threads is the ties'
  const bool whole = first + kItems <= count && is_aligned<uint4>(mask);
  uint8_t codes[kItems];
  if (whole) {
    const uint4 vector = reinterpret_cast<const uint4*>(mask)[threadIdx.x];
    memcpy(codes, &vector, sizeof(vector));
  } else {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      codes[i] = first + i < count ? mask[first + i] : 0;
    }
  }
  uint32_t own = 0;
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    own += codes[i] == tied;
  }
  auto before = static_cast<uint32_t>(sum_before<kChunkThreads>(own));
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    const bool is_tied = codes[i] == tied;
    codes[i] = codes[i] == 1 || codes[i] == kept || (is_tied && before < kept_ties);
    before += is_tied;
  }
  if (whole) {
    uint4 vector;
    memcpy(&vector, codes, sizeof(vector));
    reinterpret_cast<uint4*>(mask)[threadIdx.x] = vector;
  } else {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (first + i < count) {
        mask[first + i] = codes[i];
      }
    }
  }
}

template <typename K>
__global__ void __launch_bounds__(kChunkThreads, 4) finish(const Work<K> work) {
  const auto& state = *work.state;
  if (state.stage == Stage::kDone) {
    return;
  }
  const int thread = threadIdx.x;
  const K threshold = state.range.low;
  const Bracket<K> coded = coded_bracket(state);
  const int64_t cut = state.cut_chunk;
  const bool collected = threshold_is_collected(coded, threshold);
  const bool cut_collected = collected && cut < work.chunks;
  if (!coded.ties) {
    if (!cut_collected) {
      return;
    }
    if (blockIdx.x == 0) {
      const Place place = place_of(work, cut);
      mark_tied(work, cut, threshold, kTied, place.mask(), thread, kChunkThreads);
      __syncthreads();
      resolve(place.mask(), place.count, 1, kTied, state.cut_ties);
    }
    const int64_t warps = int64_t{gridDim.x} * (kChunkThreads / 32);
    for (int64_t chunk = (int64_t{blockIdx.x} * kChunkThreads + thread) / 32; chunk < cut; chunk += warps) {
      if (work.tied[chunk] != 0) {
        mark_tied(work, chunk, threshold, 1, place_of(work, chunk).mask(), thread % 32, 32);
      }
    }
    return;
  }
  const uint32_t tied = collected ? kTied : threshold == coded.high ? kAtHigh : kAtLow;
  const uint32_t kept = threshold < coded.high ? kAtHigh : 1;
  for (int64_t chunk = blockIdx.x; chunk < work.chunks; chunk += gridDim.x) {
    const bool codes = work.at_high[chunk] != 0 || (coded.low < coded.high && work.at_low[chunk] != 0);
    const bool ties = cut_collected && chunk <= cut && work.tied[chunk] != 0;
    if (!codes && !ties) {
      continue;
    }
    const Place place = place_of(work, chunk);
    if (ties) {
      mark_tied(work, chunk, threshold, kTied, place.mask(), thread, kChunkThreads);
      __syncthreads();
    }
    resolve(place.mask(), place.count, kept, tied, chunk < cut ? kChunk : chunk == cut ? state.cut_ties : 0);
  }
}

} // namespace prunesweep::cuda
