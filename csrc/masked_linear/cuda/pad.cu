#include "masked_linear/cuda/pad.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

namespace prunesweep::cuda {
namespace {

constexpr int kThreads = 256; // columns of a block
constexpr int kAhead = 8; // rows whose loads a thread has in flight at once
constexpr int64_t kSlice = 128; // rows that one thread sums

// A thread takes a column of `slice` rows. partial [slices, columns], if the sums are requested.
template <typename T, bool kSum>
__global__ void __launch_bounds__(kThreads) copy_kernel(
    const T* __restrict__ values, T* __restrict__ out, float* __restrict__ partial, int64_t rows, int64_t columns,
    int64_t out_columns, int64_t slice) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= out_columns) {
    return;
  }
  const bool inside = column < columns;
  const int64_t first = blockIdx.y * slice;
  const int64_t last = min(first + slice, rows);
  const T* from = values + first * columns + column;
  T* to = out + first * out_columns + column;
  [[maybe_unused]] float sum = 0;
  for (int64_t row = first; row < last; row += kAhead) {
    T ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      ahead[i] = inside && row + i < last ? from[i * columns] : T{};
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (row + i < last) {
        to[i * out_columns] = ahead[i];
      }
      if constexpr (kSum) {
        sum += static_cast<float>(ahead[i]); // zero beyond the last row
      }
    }
    from += kAhead * columns;
    to += kAhead * out_columns;
  }
  if constexpr (kSum) {
    if (inside) {
      partial[blockIdx.y * columns + column] = sum;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_slices_kernel(const float* __restrict__ partial, int64_t slices, int64_t columns, T* __restrict__ sums) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) {
    return;
  }
  float sum = 0;
#pragma unroll 8
  for (int64_t s = 0; s < slices; ++s) {
    sum += partial[s * columns + column];
  }
  sums[column] = static_cast<T>(sum);
}

unsigned blocks_of(int64_t columns) {
  return static_cast<unsigned>((columns + kThreads - 1) / kThreads);
}

// So that the grid's second dimension, of 65535 at most, suffices
int64_t slice_of(int64_t rows) {
  return std::max<int64_t>(kSlice, (rows / 65535 + 1 + kAhead - 1) / kAhead * kAhead);
}

template <typename T, bool kSum>
void copy(
    const void* values, void* out, float* partial, int64_t rows, int64_t columns, int64_t out_columns,
    cudaStream_t stream) {
  const int64_t slice = slice_of(rows);
  const dim3 grid(blocks_of(out_columns), static_cast<unsigned>((rows + slice - 1) / slice));
  copy_kernel<T, kSum><<<grid, kThreads, 0, stream>>>(
      static_cast<const T*>(values), static_cast<T*>(out), partial, rows, columns, out_columns, slice);
  check_launch("copy_rows");
}

template <typename T>
void copy_and_sum(
    const void* values, void* out, void* sums, int64_t rows, int64_t columns, int64_t out_columns,
    const Allocate& scratch, cudaStream_t stream) {
  const int64_t slices = (rows + slice_of(rows) - 1) / slice_of(rows);
  auto* const partial = static_cast<float*>(scratch(slices * columns * sizeof(float)));
  copy<T, true>(values, out, partial, rows, columns, out_columns, stream);
  add_slices_kernel<T><<<blocks_of(columns), kThreads, 0, stream>>>(partial, slices, columns, static_cast<T*>(sums));
  check_launch("copy_rows_and_sum");
}

} // namespace

void copy_rows(
    const void* values, void* out, int64_t rows, int64_t columns, int64_t out_columns, int64_t element_size,
    cudaStream_t stream) {
  if (rows == 0 || out_columns == 0) {
    return;
  }
  const auto run = element_size == 2 ? copy<uint16_t, false>
      : element_size == 4            ? copy<uint32_t, false>
                                     : copy<uint64_t, false>;
  run(values, out, nullptr, rows, columns, out_columns, stream);
}

void copy_rows_and_sum(
    const void* values, void* out, void* sums, int64_t rows, int64_t columns, int64_t out_columns, Dtype dtype,
    const Allocate& scratch, cudaStream_t stream) {
  if (dtype == Dtype::kFloat) {
    copy_and_sum<float>(values, out, sums, rows, columns, out_columns, scratch, stream);
  } else if (dtype == Dtype::kBFloat16) {
    copy_and_sum<__nv_bfloat16>(values, out, sums, rows, columns, out_columns, scratch, stream);
  } else {
    copy_and_sum<__half>(values, out, sums, rows, columns, out_columns, scratch, stream);
  }
}

} // namespace prunesweep::cuda
