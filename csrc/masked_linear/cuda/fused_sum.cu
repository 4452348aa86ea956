#include "masked_linear/cuda/fused_launch.cuh"
#include "masked_linear/cuda/fused_sum.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace prunesweep::cuda {

namespace {

constexpr int kGroups = kThreads / 32; // warps; each sums every kGroups-th split

// Block: kSumColumns columns of one row, four to a lane.
template <class T>
__global__ void __launch_bounds__(kThreads) sum_splits_kernel(
    const float* __restrict__ partial, const T* __restrict__ bias, T* __restrict__ out, int splits, int rows,
    int columns, int pitch) {
  __shared__ float4 sums[kGroups][32];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int group = static_cast<int>(threadIdx.x) / 32;
  const int row = static_cast<int>(blockIdx.x);
  const int column0 = static_cast<int>(blockIdx.y) * kSumColumns;

  const float* source = partial + static_cast<int64_t>(row) * pitch + column0 + 4 * lane;
  const int64_t stride = static_cast<int64_t>(rows) * pitch;
  float4 sum = {};
#pragma unroll 4
  for (int split = group; split < splits; split += kGroups) {
    const auto four = *reinterpret_cast<const float4*>(source + split * stride);
    sum.x += four.x;
    sum.y += four.y;
    sum.z += four.z;
    sum.w += four.w;
  }
  sums[group][lane] = sum;
  __syncthreads();

  const int column = static_cast<int>(threadIdx.x);
  if (column < kSumColumns && column0 + column < columns) {
    float total = 0;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      total += reinterpret_cast<const float*>(sums[i])[column];
    }
    total += bias ? static_cast<float>(bias[column0 + column]) : 0.0f;
    out[static_cast<int64_t>(row) * columns + column0 + column] = static_cast<T>(total);
  }
}

template <class T>
void sum_splits_of(
    const float* partial, const void* bias, void* out, int splits, int rows, int columns, int pitch,
    cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>(pitch / kSumColumns));
  launch(
      "sum_splits", sum_splits_kernel<T>, grid, 0, stream, partial, static_cast<const T*>(bias), static_cast<T*>(out),
      splits, rows, columns, pitch);
}

} // namespace

void sum_splits(
    const float* partial, const void* bias, void* out, int splits, int rows, int columns, int pitch, Dtype dtype,
    cudaStream_t stream) {
  const auto sum = dtype == Dtype::kFloat ? sum_splits_of<float>
      : dtype == Dtype::kBFloat16         ? sum_splits_of<__nv_bfloat16>
                                          : sum_splits_of<__half>;
  sum(partial, bias, out, splits, rows, columns, pitch, stream);
}

} // namespace prunesweep::cuda
