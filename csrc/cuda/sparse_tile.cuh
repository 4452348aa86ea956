// Tiles of 32 rows in shared memory, and what the sparse kernels share around them.
//
// A tile is [column][32 rows], float32: each column is 128 bytes, all the banks, in eight groups of four rows. Lanes want different columns
// in the same instruction; lane l then reads group k ^ (l % 8) at step k, so that the eight lanes that a 16-byte access serves at a time
// read eight different groups, whatever their columns. Every lane sees all groups in the end, in an order of its own.

#pragma once

#include "sparse.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <array>
#include <mutex>

namespace prunesweep::cuda {

constexpr int kTileRows = 32;
constexpr int kColumnBytes = kTileRows * sizeof(float);
constexpr int kChunkBytes = kSparseChunk * kColumnBytes;
constexpr int kThreads = kSparseChunk; // each lane brings one column of a chunk into shared memory
constexpr int kWarps = kThreads / 32;

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

inline int multiprocessors() {
  int device, count;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return count;
}

// Lets a kernel ask for more shared memory than every kernel may, once per device.
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
    const T* __restrict__ matrix, int64_t columns, int64_t first_row, int rows, int64_t column, T (&values)[kTileRows]) {
  const T* from = matrix + first_row * columns + column;
  const bool inside = column < columns;
#pragma unroll
  for (int n = 0; n < kTileRows; ++n, from += columns) {
    values[n] = inside && n < rows ? *from : T(0.0f);
  }
}

// Between rows in order and the order in which the lane visits their groups: [k] <-> [k ^ (lane % 8)]. Its own inverse. In registers, as
// these cannot be indexed by something known only when running.
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
__device__ __forceinline__ void store_column(unsigned char* tile, int column, int lane, const T (&from)[kTileRows]) {
  float values[kTileRows];
#pragma unroll
  for (int n = 0; n < kTileRows; ++n) {
    values[n] = static_cast<float>(from[n]);
  }
  exchange_groups(values, lane);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    group_of(tile, column * kColumnBytes, k, lane) =
        make_float4(values[4 * k], values[4 * k + 1], values[4 * k + 2], values[4 * k + 3]);
  }
}

} // namespace prunesweep::cuda
