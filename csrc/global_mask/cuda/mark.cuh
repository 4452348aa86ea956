// The pass over the scores: provisional masks, and the keys inside the bracket.

#pragma once

#include "global_mask/cuda/work.cuh"

namespace prunesweep::cuda {

// Flags of a thread's items.
struct Marks {
  uint32_t above, at_high, at_low, between;
};

template <int kWidth>
__device__ __forceinline__ void store_codes(const Marks& marks, uint8_t* mask, int count, int thread) {
  uint32_t words[kItems / 4];
#pragma unroll
  for (int g = 0; g < kItems / 4; ++g) {
    words[g] = (marks.above >> g & kFirstBits) | (marks.at_high >> g & kFirstBits) * kAtHigh |
        (marks.at_low >> g & kFirstBits) * kAtLow;
  }
  using V = Vector<kWidth>;
  if (count == kChunk && is_aligned<V>(mask)) {
#pragma unroll
    for (int j = 0; j < kItems / kWidth; ++j) {
      V vector;
      if constexpr (kWidth == 2) {
        vector = static_cast<V>(words[j / 2] >> 16 * (j % 2));
      } else if constexpr (kWidth == 4) {
        vector = words[j];
      } else {
        vector = {words[2 * j], words[2 * j + 1]};
      }
      reinterpret_cast<V*>(mask)[j * kChunkThreads + thread] = vector;
    }
  } else {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int offset = offset_of<kWidth>(thread, i);
      if (offset < count) {
        mask[offset] = static_cast<uint8_t>(words[i / 4] >> 8 * (i % 4));
      }
    }
  }
}

// Writes a thread's part of a chunk's mask.
template <typename S, typename K = typename S::Key>
__device__ __forceinline__ Marks
mark(const K (&keys)[kItems], uint32_t inside, const Bracket<K>& bracket, const Place& place, int thread) {
  Marks marks = {};
  uint32_t reached = 0; // the bracket's lower end
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    marks.above |= static_cast<uint32_t>(keys[i] > bracket.high) << bit_of(i);
    reached |= static_cast<uint32_t>(keys[i] >= bracket.low) << bit_of(i);
  }
  marks.above &= inside;
  marks.between = (reached & inside) ^ marks.above;
  if (bracket.ties) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      marks.at_high |= static_cast<uint32_t>(keys[i] == bracket.high) << bit_of(i);
      marks.at_low |= static_cast<uint32_t>(keys[i] == bracket.low) << bit_of(i);
    }
    marks.at_high &= inside;
    marks.at_low &= inside & ~marks.at_high;
    marks.between &= ~(marks.at_high | marks.at_low);
  }
  store_codes<kWidth<S>>(marks, place.mask(), place.count, thread);
  return marks;
}

// Two counts of at most 2^16 - 1 in a block, added up in one word of shared memory.
__device__ inline void add_pair(uint32_t* pair, uint32_t low, uint32_t high) {
  const uint32_t sum = __reduce_add_sync(0xffffffff, __popc(low) | __popc(high) << 16);
  if (threadIdx.x % 32 == 0 && sum != 0) {
    atomicAdd(pair, sum);
  }
}

template <typename S, typename K = typename S::Key>
__device__ __forceinline__ void note_nan(
    const K (&keys)[kItems], uint32_t inside, int64_t chunk, int thread, unsigned long long* first_nan) {
  std::make_unsigned_t<K> last = 0; // one comparison for all: there is hardly ever one
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    last = max(last, order_of(keys[i]));
  }
  if (last > kLastOrder<K>) {
    int first = kChunk;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      if (!is_value(keys[i]) && inside >> bit_of(i) & 1) {
        first = min(first, offset_of<kWidth<S>>(thread, i));
      }
    }
    if (first < kChunk) {
      atomicMin(first_nan, static_cast<unsigned long long>(chunk) * kChunk + first);
    }
  }
}

template <typename S>
__global__ void __launch_bounds__(kChunkThreads) mark_all(const Work<typename S::Key> work) {
  using K = typename S::Key;
  __shared__ uint32_t above_inside, high_low, between;
  __shared__ unsigned long long collected_begin;
  auto& state = *work.state;
  const Bracket<K> bracket = state.bracket;
  const int thread = threadIdx.x;
  for (int64_t chunk = blockIdx.x; chunk < work.chunks; chunk += gridDim.x) {
    const Place place = place_of(work, chunk);
    if (thread == 0) {
      above_inside = high_low = between = 0;
    }
    K keys[kItems];
    const uint32_t inside = load_keys<S>(place.piece, place.begin, place.count, thread, keys);
    const Marks marks = mark<S>(keys, inside, bracket, place, thread);
    note_nan<S>(keys, inside, chunk, thread, &state.first_nan);
    __syncthreads();
    add_pair(&above_inside, marks.above, inside);
    if (bracket.ties) {
      add_pair(&high_low, marks.at_high, marks.at_low);
    }
    // in any order: what follows does not depend on it
    uint32_t slot = marks.between != 0 ? atomicAdd(&between, __popc(marks.between)) : 0;
    __syncthreads();
    if (thread == 0) {
      atomicAdd(&state.above, above_inside & 0xffff);
      atomicAdd(&state.available, above_inside >> 16);
      if (bracket.ties) {
        work.at_high[chunk] = high_low & 0xffff;
        work.at_low[chunk] = high_low >> 16;
        atomicAdd(&state.at_high, high_low & 0xffff);
        atomicAdd(&state.at_low, high_low >> 16);
      }
      collected_begin = between != 0 ? atomicAdd(&state.collected, between) : 0;
      work.collected_begin[chunk] = collected_begin;
      work.collected_size[chunk] = between;
    }
    __syncthreads();
    if (marks.between != 0) {
      const auto begin = static_cast<int64_t>(collected_begin);
#pragma unroll
      for (int i = 0; i < kItems; ++i) {
        if (marks.between >> bit_of(i) & 1) {
          if (begin + slot < work.capacity) {
            work.keys[begin + slot] = keys[i];
            work.offsets[begin + slot] = static_cast<uint16_t>(offset_of<kWidth<S>>(thread, i));
          }
          ++slot;
        }
      }
    }
    __syncthreads(); // the counts may be written again
  }
}

} // namespace prunesweep::cuda
