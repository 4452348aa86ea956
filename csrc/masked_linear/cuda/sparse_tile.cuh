// Tiles of 32 rows in shared memory, and what the sparse kernels share around them.
//
// A tile is [column][32 rows], float32: each column is 128 bytes, all the banks, in eight groups of four rows. Lanes
// need different columns in the same instruction; lane l then reads group k ^ (l % 8) at step k, so that the eight
// lanes that a 16-byte access serves at a time read eight different groups, whatever their columns. Every lane sees
// all groups in the end, in its own order.

#pragma once

#include "masked_linear/cuda/sparse.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <mutex>

namespace prunesweep::cuda {

constexpr int kTileRows = 32;
constexpr int kColumnBytes = kTileRows * sizeof(float);
constexpr int kChunkBytes = kSparseChunk * kColumnBytes;
constexpr int kThreads = kSparseChunk; // each lane loads one column of a chunk into shared memory
constexpr int kWarps = kThreads / 32;

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Lets a kernel use more shared memory than the default limit, once per device.
class SharedMemory {
 public:
  void allow(const void* kernel, int bytes) {
    int device;
    check(cudaGetDevice(&device), "cudaGetDevice");
    std::call_once(done_.at(device), [&] {
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "cudaFuncSetAttribute");
    });
  }

 private:
  std::array<std::once_flag, 128> done_;
};

// Calls run(T{}) with the type of the elements.
template <typename Run>
void with_type(Dtype dtype, const Run& run) {
  switch (dtype) {
    case Dtype::kFloat:
      return run(float{});
    case Dtype::kBFloat16:
      return run(__nv_bfloat16{});
    case Dtype::kHalf:
      return run(__half{});
    case Dtype::kDouble:
      throw std::invalid_argument("sparse products: float64 is not supported");
  }
}

// The rows of a tile at one column. Beyond the last row there are zeros.
template <typename T>
__device__ __forceinline__ void load_column(
    const T* __restrict__ matrix, int64_t columns, int64_t first_row, int rows, int64_t column,
    T (&values)[kTileRows]) {
  const T* from = matrix + first_row * columns + column;
  const bool inside = column < columns;
#pragma unroll
  for (int n = 0; n < kTileRows; ++n, from += columns) {
    values[n] = inside && n < rows ? *from : T(0.0f);
  }
}

// Between rows in order and the order in which the lane visits their groups: [k] <-> [k ^ (lane % 8)]. Its own
// inverse. In registers, as these cannot be indexed by a value known only at run time.
__device__ __forceinline__ void exchange_groups(float (&values)[kTileRows], int lane) {
#pragma unroll
  for (int bit = 1; bit < 8; bit *= 2) {
    const bool swap = lane & bit;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (!(k & bit)) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float low = values[4 * k + j], high = values[4 * (k | bit) + j];
          values[4 * k + j] = swap ? high : low;
          values[4 * (k | bit) + j] = swap ? low : high;
        }
      }
    }
  }
}

// Group k ^ (lane % 8) of the column that starts at byte `column` of the tile
__device__ __forceinline__ float4& group_of(unsigned char* tile, uint32_t column, int k, int lane) {
  return *reinterpret_cast<float4*>(tile + ((column + lane % 8 * sizeof(float4)) ^ (k * sizeof(float4))));
}

template <typename T>
__device__ __forceinline__ void to_float(const T (&from)[kTileRows], float (&to)[kTileRows]) {
#pragma unroll
  for (int n = 0; n < kTileRows; ++n) {
    to[n] = static_cast<float>(from[n]);
  }
}

template <typename T>
__device__ __forceinline__ void store_column(unsigned char* tile, int column, int lane, const T (&from)[kTileRows]) {
  float values[kTileRows];
  to_float(from, values);
  exchange_groups(values, lane);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    group_of(tile, column * kColumnBytes, k, lane) =
        make_float4(values[4 * k], values[4 * k + 1], values[4 * k + 2], values[4 * k + 3]);
  }
}

__device__ __forceinline__ int rows_in_tile(int64_t rows, int64_t tile) {
  return static_cast<int>(min(rows - tile * kTileRows, int64_t{kTileRows}));
}

__device__ __forceinline__ int64_t result_of_lane(const SparseOrder& order, int64_t tile, int lane) {
  return tile * kSparseLanes + order.results_of_lanes[tile * kSparseLanes + lane];
}

// A lane's share of one chunk and tile of results: how many kept weights, and where those of the whole warp start.
struct Share {
  int count;
  int32_t start;
};

__device__ __forceinline__ Share share_of(const SparseOrder& order, int64_t chunk, int64_t tile, int lane) {
  const int64_t unit = chunk * order.tiles + tile;
  return {order.counts[unit * kSparseLanes + lane], order.starts[unit]};
}

// Goes through the kept weights of one chunk and tile turn by turn, the warp together; each turn's item is loaded a
// turn ahead.
template <typename Item>
class Turns {
 public:
  __device__ __forceinline__ Turns(Share share, const Item* items, int lane)
      : items_(items), below_((1u << lane) - 1), left_(share.count), first_(share.start) {
    load();
  }

  __device__ __forceinline__ bool any() const {
    return active_ != 0;
  }

  // use(item, index) in the lanes that still have one
  template <typename Use>
  __device__ __forceinline__ void take(const Use& use) {
    const bool mine = left_ > 0;
    const Item item = item_;
    const int32_t index = index_;
    --left_;
    load();
    if (mine) {
      use(item, index);
    }
  }

 private:
  __device__ __forceinline__ void load() {
    active_ = __ballot_sync(0xffffffff, left_ > 0);
    index_ = first_ + __popc(active_ & below_);
    if (left_ > 0) {
      item_ = items_[index_];
    }
    first_ += __popc(active_);
  }

  const Item* const items_;
  const unsigned below_;
  int left_;
  int32_t first_, index_ = 0;
  unsigned active_ = 0;
  Item item_{};
};

// Wavefronts of shared memory that a block takes for a tile of rows when `groups` blocks share the tiles of results.
// A lane with few kept weights waits for its neighbours: 1.3. `per_result` is the other work, for 32 results.
inline double block_work(const SparseOrder& order, int64_t kept, int64_t groups, double per_result) {
  const double tile = (1.3 * kept + per_result * order.results) / order.tiles;
  return divide_up(order.tiles, groups * kWarps) * kWarps * tile + 3.0 * order.n_columns;
}

} // namespace prunesweep::cuda
