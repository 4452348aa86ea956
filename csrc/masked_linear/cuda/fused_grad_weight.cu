#include "masked_linear/cuda/fused.h"
#include "masked_linear/cuda/fused_product.cuh"

#include <algorithm>

namespace prunesweep::cuda {

namespace {

// A block: 128 outputs by 128 columns, of which each warp has 64 by 32. The rows of grad and x, which are the depth
// here, go through shared memory in slabs.
template <class Math>
struct Tile {
  using T = typename Math::T;
  static constexpr int kOutputs = 128;
  static constexpr int kColumns = 128;
  static constexpr int kDepth = 32;
  static constexpr int kPitch = kColumns + 8; // rows are 8 banks apart as float32, 4 as 2-byte elements
  static constexpr int kWords = kColumns / 32;
  static constexpr int kStages = 3;
  static constexpr int kSumPitch = kColumns + 4;

  struct Stage {
    alignas(16) T grad[kDepth * kPitch];
    alignas(16) T x[kDepth * kPitch];
  };
  static constexpr size_t kTiles = std::max(kStages * sizeof(Stage), kOutputs * kSumPitch * sizeof(float));
  static constexpr size_t kShared = kTiles + kOutputs * kWords * sizeof(uint32_t);
};

// Four neighbours of a row at once
__device__ inline void store_four(float* to, const float (&values)[4]) {
  *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
}

template <class T>
__device__ void store_four(T* to, const float (&values)[4]) {
  alignas(8) T four[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    four[i] = static_cast<T>(values[i]);
  }
  *reinterpret_cast<uint2*>(to) = *reinterpret_cast<const uint2*>(four);
}

template <class Math>
__global__ void __launch_bounds__(kThreads, 2) grad_weight_kernel(
    Matrix<typename Math::T> grad, Matrix<typename Math::T> x, Matrix<uint32_t> bits, typename Math::T* grad_weight,
    typename Math::T* grad_bias,
    bool fours) { // whether four neighbours of grad_weight can be written at once
  using Shape = Tile<Math>;
  using T = typename Math::T;
  using Stage = typename Shape::Stage;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* stages = reinterpret_cast<Stage*>(memory);
  auto* mask = reinterpret_cast<uint32_t*>(memory + Shape::kTiles);

  const int output0 = static_cast<int>(blockIdx.x) * Shape::kOutputs;
  const int column0 = static_cast<int>(blockIdx.y) * Shape::kColumns;
  const int slabs = (x.rows + Shape::kDepth - 1) / Shape::kDepth;
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / 32;
  const int output_side = warp % 2 * 64;
  const int column_side = warp / 2 * 32;
  const bool sums_bias = grad_bias && blockIdx.y == 0 && thread < Shape::kOutputs;

  const auto load = [&](int slab) {
    if (slab < slabs) {
      Stage& stage = stages[slab % Shape::kStages];
      load_tile<Shape::kDepth, Shape::kColumns, Shape::kPitch>(stage.x, x, slab * Shape::kDepth, column0);
      load_tile<Shape::kDepth, Shape::kOutputs, Shape::kPitch>(stage.grad, grad, slab * Shape::kDepth, output0);
    }
    commit_copies();
  };

  Product<Math, 4, Along::kSide, Along::kSide, Masked::kNo> product;
  float bias_sum = 0;
  load_tile<Shape::kOutputs, Shape::kWords, Shape::kWords>(
      mask, bits, output0, column0 / 32); // part of the first group of copies
#pragma unroll 1
  for (int i = 0; i < Shape::kStages - 1; ++i) {
    load(i);
  }
#pragma unroll 1
  for (int slab = 0; slab < slabs; ++slab) {
    wait_copies<Shape::kStages - 2>();
    __syncthreads();
    load(slab + Shape::kStages - 1);
    const Stage& stage = stages[slab % Shape::kStages];
    const Operand<T> a{stage.grad + output_side, Shape::kPitch};
    const Operand<T> b{stage.x + column_side, Shape::kPitch};
#pragma unroll
    for (int k = 0; k < Shape::kDepth; k += Math::kStep) {
      product.step(a, b, {}, k);
    }
    if (sums_bias) {
#pragma unroll 8
      for (int k = 0; k < Shape::kDepth; ++k) {
        bias_sum += static_cast<float>(stage.grad[k * Shape::kPitch + thread]);
      }
    }
  }
  if (sums_bias && output0 + thread < bits.rows) {
    grad_bias[output0 + thread] = static_cast<T>(bias_sum);
  }
  wait_copies<0>();
  __syncthreads();

  auto* sums = reinterpret_cast<float*>(memory);
  product.each([&](int row, int column, float sum) {
    sums[(output_side + row) * Shape::kSumPitch + column_side + column] = sum;
  });
  __syncthreads();
  const int column = thread % 32 * 4;
#pragma unroll 4
  for (int row = warp; row < Shape::kOutputs; row += kThreads / 32) {
    if (output0 + row >= bits.rows || column0 + column >= x.columns) {
      break;
    }
    const auto four = *reinterpret_cast<const float4*>(sums + row * Shape::kSumPitch + column);
    const uint32_t kept = mask[row * Shape::kWords + column / 32] >> (column % 32);
    const float values[4] = {
        kept & 1 ? four.x : 0.0f, kept & 2 ? four.y : 0.0f, kept & 4 ? four.z : 0.0f, kept & 8 ? four.w : 0.0f};
    T* to = grad_weight + static_cast<int64_t>(output0 + row) * x.columns + column0 + column;
    if (fours) {
      store_four(to, values);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (column0 + column + i < x.columns) {
          to[i] = static_cast<T>(values[i]);
        }
      }
    }
  }
}

template <class Math>
void grad_weight(
    const void* grad, const void* x, const uint32_t* bits, void* grad_weight, void* grad_bias, int64_t rows,
    int64_t n_in, int64_t n_out, cudaStream_t stream) {
  using Shape = Tile<Math>;
  using T = typename Math::T;
  const auto tiles = static_cast<unsigned>((n_out + Shape::kOutputs - 1) / Shape::kOutputs);
  const auto column_tiles = static_cast<unsigned>((n_in + Shape::kColumns - 1) / Shape::kColumns);
  const bool fours = n_in % 4 == 0 && reinterpret_cast<uintptr_t>(grad_weight) % (4 * sizeof(T)) == 0;
  launch(
      "fused_grad_weight", grad_weight_kernel<Math>, dim3(tiles, column_tiles), Shape::kShared, stream,
      matrix<T>(grad, rows, n_out), matrix<T>(x, rows, n_in), matrix<uint32_t>(bits, n_out, (n_in + 31) / 32),
      static_cast<T*>(grad_weight), static_cast<T*>(grad_bias), fours);
}

} // namespace

void fused_grad_weight(
    const void* grad, const void* x, const uint32_t* bits, void* grad_weight_out, void* grad_bias, int64_t rows,
    int64_t n_in, int64_t n_out, Dtype dtype, bool tf32, cudaStream_t stream) {
  const auto run = dtype == Dtype::kBFloat16 ? grad_weight<Short<__nv_bfloat16>>
      : dtype == Dtype::kHalf                ? grad_weight<Short<__half>>
      : tf32                                 ? grad_weight<Tf32>
                                             : grad_weight<Ieee>;
  run(grad, x, bits, grad_weight_out, grad_bias, rows, n_in, n_out, stream);
}

} // namespace prunesweep::cuda
