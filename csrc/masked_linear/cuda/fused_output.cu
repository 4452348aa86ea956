#include "masked_linear/cuda/fused.h"
#include "masked_linear/cuda/fused_product.cuh"
#include "masked_linear/cuda/fused_sum.h"

#include <algorithm>

namespace prunesweep::cuda {

namespace {

constexpr int kShortDepth = 8; // slabs

// A block: kOutputs outputs of 16 kTiles rows. Of each slab of depth that goes through shared memory, each warp takes
// one of kSlices slices for 32 of the outputs.
template <class Math, int kTiles>
struct Tile {
  using T = typename Math::T;
  static constexpr bool kIeee = std::is_same_v<Math, Ieee>;
  static constexpr int kRows = 16 * kTiles;
  // Kernels that wait for memory need few reads of x, those that compute on the CUDA cores the same work on each
  // multiprocessor
  static constexpr int kOutputs = kIeee ? 32 : 64;
  static constexpr int kWarps = kOutputs / 32; // that share a slice
  static constexpr int kSlices = kThreads / 32 / kWarps;
  static constexpr int kDepth = 256 / sizeof(T);
  static constexpr int kPitch = kDepth + 16 / sizeof(T); // rows start 4 banks apart
  static constexpr int kWords = kDepth / 32;
  static constexpr int kStages = 3;
  static constexpr int kSumPitch = kOutputs + 4;

  struct Stage {
    alignas(16) T x[kRows * kPitch];
    alignas(16) T weight[kOutputs * kPitch];
    alignas(16) uint32_t bits[kOutputs * kWords];
  };
  static constexpr size_t kShared = std::max(kStages * sizeof(Stage), kSlices * kRows * kSumPitch * sizeof(float));
};

template <class Math, int kTiles>
__global__ void __launch_bounds__(kThreads, 2) output_kernel(
    Matrix<typename Math::T> x, Matrix<typename Math::T> weight, Matrix<uint32_t> bits, const typename Math::T* bias,
    typename Math::T* y,
    float* partial, // [splits, rows, pitch], or null: one split, and the results go to y
    int pitch, int split_slabs) {
  using Shape = Tile<Math, kTiles>;
  using T = typename Math::T;
  using Stage = typename Shape::Stage;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* stages = reinterpret_cast<Stage*>(memory);

  const int output0 = static_cast<int>(blockIdx.x) * Shape::kOutputs;
  const int row0 = static_cast<int>(blockIdx.y) * Shape::kRows;
  const int begin = static_cast<int>(blockIdx.z) * split_slabs;
  const int end = min(begin + split_slabs, (x.columns + Shape::kDepth - 1) / Shape::kDepth);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int side = warp % Shape::kWarps * 32;
  const int slice = warp / Shape::kWarps;

  const auto load = [&](int slab) {
    if (slab < end) {
      Stage& stage = stages[(slab - begin) % Shape::kStages];
      const int depth = slab * Shape::kDepth;
      load_tile<Shape::kOutputs, Shape::kDepth, Shape::kPitch>(stage.weight, weight, output0, depth);
      copy_tile<4, Shape::kOutputs, Shape::kWords, Shape::kWords>(stage.bits, bits, output0, depth / 32);
      load_tile<Shape::kRows, Shape::kDepth, Shape::kPitch>(stage.x, x, row0, depth);
    }
    commit_copies();
  };

  Product<Math, kTiles, Along::kDepth, Along::kDepth, Shape::kIeee ? Masked::kNo : Masked::kYes> product;
#pragma unroll 1
  for (int i = 0; i < Shape::kStages - 1; ++i) {
    load(begin + i);
  }
#pragma unroll 1
  for (int slab = begin; slab < end; ++slab) {
    wait_copies<Shape::kStages - 2>();
    __syncthreads();
    load(slab + Shape::kStages - 1);
    Stage& stage = stages[(slab - begin) % Shape::kStages];
    if constexpr (Shape::kIeee) {
      mask_tile<Shape::kOutputs, Shape::kDepth, Shape::kPitch>(stage.weight, stage.bits);
      __syncthreads();
    }
    const Operand<T> a{stage.x, Shape::kPitch};
    const Operand<T> b{stage.weight + side * Shape::kPitch, Shape::kPitch};
    const Bits mask{stage.bits + side * Shape::kWords, Shape::kWords};
    constexpr int kPart = Shape::kDepth / Shape::kSlices;
    constexpr int kUnroll = Shape::kIeee ? 1 : kPart / Math::kStep;
#pragma unroll kUnroll
    for (int k = 0; k < kPart; k += Math::kStep) {
      product.step(a, b, mask, slice * kPart + k);
    }
  }
  wait_copies<0>();
  __syncthreads();

  auto* sums = reinterpret_cast<float*>(memory);
  product.each([&](int row, int column, float sum) {
    sums[(slice * Shape::kRows + row) * Shape::kSumPitch + side + column] = sum;
  });
  __syncthreads();
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < Shape::kRows * Shape::kOutputs; i += kThreads) {
    const int row = i / Shape::kOutputs;
    const int column = i % Shape::kOutputs;
    float sum = 0;
#pragma unroll
    for (int part = 0; part < Shape::kSlices; ++part) {
      sum += sums[(part * Shape::kRows + row) * Shape::kSumPitch + column];
    }
    const int output = output0 + column;
    if (row0 + row < x.rows && output < weight.rows) {
      const int64_t at_row = row0 + row;
      if (partial) {
        partial[(static_cast<int64_t>(blockIdx.z) * x.rows + at_row) * pitch + output] = sum;
      } else {
        y[at_row * weight.rows + output] = static_cast<T>(sum + (bias ? static_cast<float>(bias[output]) : 0.0f));
      }
    }
  }
}

template <class Math, int kTiles>
void output(
    const void* x, const void* weight, const uint32_t* bits, const void* bias, void* y, int64_t rows, int64_t n_in,
    int64_t n_out, Dtype dtype, const Allocate& scratch, cudaStream_t stream) {
  using Shape = Tile<Math, kTiles>;
  using T = typename Math::T;
  const auto tiles = static_cast<int>((n_out + Shape::kOutputs - 1) / Shape::kOutputs);
  const auto row_tiles = static_cast<int>((rows + Shape::kRows - 1) / Shape::kRows);
  const auto slabs = static_cast<int>((n_in + Shape::kDepth - 1) / Shape::kDepth);
  // Few outputs leave multiprocessors idle unless the depth is split too, which a short one is not worth: the second
  // kernel costs more
  const int wanted = slabs <= kShortDepth ? 1 : std::max(1, multiprocessors() / (tiles * row_tiles));
  const int split_slabs = std::max((slabs + wanted - 1) / wanted, std::min(slabs, 2));
  const int splits = (slabs + split_slabs - 1) / split_slabs;
  const auto pitch = static_cast<int>((n_out + kSumColumns - 1) / kSumColumns * kSumColumns);
  auto* partial = splits == 1
      ? nullptr
      : static_cast<float*>(scratch(sizeof(float) * static_cast<size_t>(splits) * static_cast<size_t>(rows * pitch)));

  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(row_tiles), static_cast<unsigned>(splits));
  launch(
      "fused_output", output_kernel<Math, kTiles>, grid, Shape::kShared, stream, matrix<T>(x, rows, n_in),
      matrix<T>(weight, n_out, n_in), matrix<uint32_t>(bits, n_out, (n_in + 31) / 32), static_cast<const T*>(bias),
      static_cast<T*>(y), partial, pitch, split_slabs);
  if (partial) {
    sum_splits(partial, bias, y, splits, static_cast<int>(rows), static_cast<int>(n_out), pitch, dtype, stream);
  }
}

template <class Math>
constexpr auto output_for(int64_t rows) {
  return rows <= 16 ? output<Math, 1> : output<Math, 4>;
}

} // namespace

void fused_output(
    const void* x, const void* weight, const uint32_t* bits, const void* bias, void* y, int64_t rows, int64_t n_in,
    int64_t n_out, Dtype dtype, bool tf32, const Allocate& scratch, cudaStream_t stream) {
  const auto run = dtype == Dtype::kBFloat16 ? output_for<Short<__nv_bfloat16>>(rows)
      : dtype == Dtype::kHalf                ? output_for<Short<__half>>(rows)
      : tf32                                 ? output_for<Tf32>(rows)
                                             : output_for<Ieee>(rows);
  run(x, weight, bits, bias, y, rows, n_in, n_out, dtype, scratch, stream);
}

} // namespace prunesweep::cuda
