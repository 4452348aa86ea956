#include "masked_linear/cuda/fused.h"
#include "masked_linear/cuda/fused_product.cuh"
#include "masked_linear/cuda/fused_sum.h"

#include <algorithm>

namespace prunesweep::cuda {

namespace {

// A block: 128 columns of 16 kTiles rows, over one split of the outputs. Of each slab of outputs that goes through
// shared memory, each of two fours of warps takes a half, and each warp of a four 32 columns.
template <class Math, int kTiles>
struct Tile {
  using T = typename Math::T;
  static constexpr bool kIeee = std::is_same_v<Math, Ieee>;
  static constexpr int kRows = 16 * kTiles;
  static constexpr int kColumns = kSumColumns;
  static constexpr int kSlices = 2;
  static constexpr int kDepth = 128 / sizeof(T);
  static constexpr int kGradPitch = kDepth + 16 / sizeof(T);
  static constexpr int kPitch = kColumns + 8; // steps of depth are 8 banks apart as float32, 4 as 2-byte elements
  static constexpr int kWords = kColumns / 32;
  // Kernels that compute on the CUDA cores need two blocks per multiprocessor, those that wait for memory many bytes in
  // flight
  static constexpr int kBlocks = kIeee ? 2 : 1;
  static constexpr int kStages = kIeee ? 3 : 6;
  static constexpr int kSumPitch = kColumns + 4;

  struct Stage {
    alignas(16) T grad[kRows * kGradPitch];
    alignas(16) T weight[kDepth * kPitch];
    alignas(16) uint32_t bits[kDepth * kWords];
  };
  static constexpr size_t kShared = std::max(kStages * sizeof(Stage), kSlices * kRows * kSumPitch * sizeof(float));
};

template <class Math, int kTiles>
__global__ void __launch_bounds__(kThreads, Tile<Math, kTiles>::kBlocks) grad_input_kernel(
    Matrix<typename Math::T> grad, Matrix<typename Math::T> weight, Matrix<uint32_t> bits,
    float* partial, // [splits, rows, pitch]
    int pitch, int split_slabs) {
  using Shape = Tile<Math, kTiles>;
  using T = typename Math::T;
  using Stage = typename Shape::Stage;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* stages = reinterpret_cast<Stage*>(memory);

  const int column0 = static_cast<int>(blockIdx.x) * Shape::kColumns;
  const int row0 = static_cast<int>(blockIdx.y) * Shape::kRows;
  const int begin = static_cast<int>(blockIdx.z) * split_slabs;
  const int end = min(begin + split_slabs, (weight.rows + Shape::kDepth - 1) / Shape::kDepth);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int side = warp % 4 * 32;
  const int slice = warp / 4;
  // Rows of as many 2-byte elements as a vocabulary has words are often not multiples of 4 bytes
  const bool words = sizeof(T) == 2 && grad.access == Access::kElement;

  const auto load = [&](int slab) {
    if (slab < end) {
      Stage& stage = stages[(slab - begin) % Shape::kStages];
      const int depth = slab * Shape::kDepth;
      load_tile<Shape::kDepth, Shape::kColumns, Shape::kPitch>(stage.weight, weight, depth, column0);
      load_tile<Shape::kDepth, Shape::kWords, Shape::kWords>(stage.bits, bits, depth, column0 / 32);
      if (words) {
        if constexpr (sizeof(T) == 2) {
          load_words<Shape::kRows, Shape::kDepth, Shape::kGradPitch>(stage.grad, grad, row0, depth);
        }
      } else {
        load_tile<Shape::kRows, Shape::kDepth, Shape::kGradPitch>(stage.grad, grad, row0, depth);
      }
    }
    commit_copies();
  };

  Product<Math, kTiles, Along::kDepth, Along::kSide, Shape::kIeee ? Masked::kNo : Masked::kYes> product;
  const int shift =
      words ? half_word(grad, row0 + static_cast<int>(threadIdx.x) % 32 / 4) : 0; // rows 8 apart have the same
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
      mask_tile<Shape::kDepth, Shape::kColumns, Shape::kPitch>(stage.weight, stage.bits);
      __syncthreads();
    }
    const Operand<T> a{stage.grad, Shape::kGradPitch, shift, words};
    const Operand<T> b{stage.weight + side, Shape::kPitch};
    const Bits mask{stage.bits + side / 32, Shape::kWords};
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
  for (int i = static_cast<int>(threadIdx.x); i < Shape::kRows * Shape::kColumns / 4; i += kThreads) {
    const int row = i / (Shape::kColumns / 4);
    const int column = i % (Shape::kColumns / 4) * 4;
    const auto* first = reinterpret_cast<const float4*>(sums + row * Shape::kSumPitch + column);
    const auto* second = first + Shape::kRows * Shape::kSumPitch / 4;
    if (row0 + row < grad.rows) {
      float* out = partial + (static_cast<int64_t>(blockIdx.z) * grad.rows + row0 + row) * pitch + column0 + column;
      *reinterpret_cast<float4*>(out) =
          make_float4(first->x + second->x, first->y + second->y, first->z + second->z, first->w + second->w);
    }
  }
}

template <class Math, int kTiles>
void grad_input(
    const void* grad, const void* weight, const uint32_t* bits, void* grad_x, int64_t rows, int64_t n_in, int64_t n_out,
    Dtype dtype, const Allocate& scratch, cudaStream_t stream) {
  using Shape = Tile<Math, kTiles>;
  using T = typename Math::T;
  const auto tiles = static_cast<int>((n_in + Shape::kColumns - 1) / Shape::kColumns);
  const auto row_tiles = static_cast<int>((rows + Shape::kRows - 1) / Shape::kRows);
  const auto slabs = static_cast<int>((n_out + Shape::kDepth - 1) / Shape::kDepth);
  // Just enough splits to keep every multiprocessor busy, since the sums of each are written and read again; and no
  // short ones
  const int wanted = std::max(1, Shape::kBlocks * multiprocessors() / (tiles * row_tiles));
  const int split_slabs = std::max((slabs + wanted - 1) / wanted, std::min(slabs, 2));
  const int splits = (slabs + split_slabs - 1) / split_slabs;
  const int pitch = tiles * Shape::kColumns;
  auto* partial =
      static_cast<float*>(scratch(sizeof(float) * static_cast<size_t>(splits) * static_cast<size_t>(rows * pitch)));

  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(row_tiles), static_cast<unsigned>(splits));
  launch(
      "fused_grad_input", grad_input_kernel<Math, kTiles>, grid, Shape::kShared, stream, matrix<T>(grad, rows, n_out),
      matrix<T>(weight, n_out, n_in), matrix<uint32_t>(bits, n_out, (n_in + 31) / 32), partial, pitch, split_slabs);
  sum_splits(partial, nullptr, grad_x, splits, static_cast<int>(rows), static_cast<int>(n_in), pitch, dtype, stream);
}

template <class Math>
constexpr auto grad_input_for(int64_t rows) {
  return rows <= 16 ? grad_input<Math, 1> : grad_input<Math, 4>;
}

} // namespace

void fused_grad_input(
    const void* grad, const void* weight, const uint32_t* bits, void* grad_x, int64_t rows, int64_t n_in, int64_t n_out,
    Dtype dtype, bool tf32, const Allocate& scratch, cudaStream_t stream) {
  const auto run = dtype == Dtype::kBFloat16 ? grad_input_for<Short<__nv_bfloat16>>(rows)
      : dtype == Dtype::kHalf                ? grad_input_for<Short<__half>>(rows)
      : tf32                                 ? grad_input_for<Tf32>(rows)
                                             : grad_input_for<Ieee>(rows);
  run(grad, weight, bits, grad_x, rows, n_in, n_out, dtype, scratch, stream);
}

} // namespace prunesweep::cuda
