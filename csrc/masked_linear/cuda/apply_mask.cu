#include "masked_linear/cuda/apply_mask.h"

#include <algorithm>
#include <limits>

namespace prunesweep::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void pack_kernel(
    const uint8_t* __restrict__ mask, int64_t words, int64_t words_in_row, int64_t columns, uint32_t* __restrict__ bits,
    unsigned long long* __restrict__ kept) {
  // a warp packs a word at a time, a lane a bit
  const int lane = threadIdx.x % 32;
  const int64_t warps = static_cast<int64_t>(gridDim.x) * (kThreads / 32);
  int64_t count = 0;
  for (int64_t word = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32; word < words;
       word += warps) {
    const int64_t row = word / words_in_row;
    const int64_t column = (word - row * words_in_row) * 32 + lane;
    const bool keep = column < columns && mask[row * columns + column] != 0;
    const uint32_t packed = __ballot_sync(0xffffffffu, keep);
    if (lane == 0) {
      bits[word] = packed;
      count += __popc(packed);
    }
  }
  if (lane == 0 && count != 0) {
    atomicAdd(kept, static_cast<unsigned long long>(count)); // of integers, so the order does not matter
  }
}

// Elements that one thread takes at once: sixteen bytes of them, or one where rows or addresses do not allow that.
template <typename Bits, int kWidth>
struct alignas(sizeof(Bits) * kWidth) Group {
  Bits values[kWidth];
};

// Where a group is. Its columns lie in one word, since 32 is a multiple of kWidth and so are the columns of a row.
template <int kWidth, typename Index>
struct Place {
  __device__ Place(Index group, Index groups_in_row)
      : row(group / groups_in_row), group_in_row(group - row * groups_in_row) {}

  __device__ uint32_t keep(const uint32_t* __restrict__ bits, Index words_in_row) const {
    const Index column = group_in_row * kWidth;
    return bits[row * words_in_row + column / 32] >> (column % 32);
  }

  Index row, group_in_row;
};

template <typename Bits, int kWidth, typename Index>
__global__ void apply_mask_kernel(
    const Bits* values, const uint32_t* __restrict__ bits, Bits* out, Index groups, Index groups_in_row,
    Index words_in_row, Index groups_in_out_row) {
  const Index group = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= groups) {
    return;
  }
  const Place<kWidth, Index> place(group, groups_in_row);
  const uint32_t keep = place.keep(bits, words_in_row);
  auto g = reinterpret_cast<const Group<Bits, kWidth>*>(values)[group];
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    g.values[i] = (keep >> i) & 1 ? g.values[i] : Bits{0};
  }
  reinterpret_cast<Group<Bits, kWidth>*>(out)[place.row * groups_in_out_row + place.group_in_row] = g;
}

template <typename Bits, int kWidth, typename Index>
__global__ void clear_kernel(
    Bits* values, const uint32_t* __restrict__ bits, Index groups, Index groups_in_row, Index words_in_row) {
  const Index group = static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x;
  if (group >= groups) {
    return;
  }
  constexpr uint32_t kAll = (1u << kWidth) - 1;
  const uint32_t keep = Place<kWidth, Index>(group, groups_in_row).keep(bits, words_in_row) & kAll;
  auto* const target = reinterpret_cast<Group<Bits, kWidth>*>(values) + group;
  if (keep == 0) {
    *target = Group<Bits, kWidth>{};
  } else if (keep != kAll) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (!((keep >> i) & 1)) {
        target->values[i] = 0;
      }
    }
  }
}

struct Shape {
  int64_t rows, columns, out_columns, words_in_row;
};

template <typename Bits, int kWidth, typename Index>
void launch(const void* values, const uint32_t* bits, void* out, Shape shape, cudaStream_t stream) {
  const int64_t groups_in_row = shape.columns / kWidth;
  const int64_t groups = shape.rows * groups_in_row;
  const auto blocks = static_cast<unsigned>((groups + kThreads - 1) / kThreads);
  const auto as_index = [](int64_t n) { return static_cast<Index>(n); };
  if (values) {
    apply_mask_kernel<Bits, kWidth, Index><<<blocks, kThreads, 0, stream>>>(
        static_cast<const Bits*>(values), bits, static_cast<Bits*>(out), as_index(groups), as_index(groups_in_row),
        as_index(shape.words_in_row), as_index(shape.out_columns / kWidth));
  } else {
    clear_kernel<Bits, kWidth, Index><<<blocks, kThreads, 0, stream>>>(
        static_cast<Bits*>(out), bits, as_index(groups), as_index(groups_in_row), as_index(shape.words_in_row));
  }
  check_launch(values ? "apply_mask" : "clear_pruned");
}

template <typename Bits>
void launch_for(const void* values, const uint32_t* bits, void* out, Shape shape, cudaStream_t stream) {
  constexpr int kWidth = 16 / sizeof(Bits);
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const bool wide = shape.columns % kWidth == 0 && shape.out_columns % kWidth == 0 && aligned(values) && aligned(out);
  const bool short_index = shape.rows * (shape.out_columns + 32) < std::numeric_limits<int32_t>::max() - kThreads;
  if (wide && short_index) {
    launch<Bits, kWidth, uint32_t>(values, bits, out, shape, stream);
  } else if (wide) {
    launch<Bits, kWidth, int64_t>(values, bits, out, shape, stream);
  } else if (short_index) {
    launch<Bits, 1, uint32_t>(values, bits, out, shape, stream);
  } else {
    launch<Bits, 1, int64_t>(values, bits, out, shape, stream);
  }
}

// values null: out in place
void apply(
    const void* values, const uint32_t* bits, void* out, int64_t rows, int64_t columns, int64_t out_columns,
    int64_t element_size, cudaStream_t stream) {
  if (rows == 0 || columns == 0) {
    return;
  }
  const Shape shape{rows, columns, out_columns, words_per_row(columns)};
  if (element_size == 2) {
    launch_for<uint16_t>(values, bits, out, shape, stream);
  } else if (element_size == 4) {
    launch_for<uint32_t>(values, bits, out, shape, stream);
  } else {
    launch_for<uint64_t>(values, bits, out, shape, stream);
  }
}

} // namespace

void pack(const uint8_t* mask, int64_t rows, int64_t columns, uint32_t* bits, int64_t* kept, cudaStream_t stream) {
  check(cudaMemsetAsync(kept, 0, sizeof(*kept), stream), "cudaMemsetAsync");
  const int64_t words_in_row = words_per_row(columns);
  const int64_t words = rows * words_in_row;
  if (words == 0) {
    return;
  }
  const auto blocks = static_cast<unsigned>(std::min<int64_t>((words + kThreads / 32 - 1) / (kThreads / 32), 4096));
  pack_kernel<<<blocks, kThreads, 0, stream>>>(
      mask, words, words_in_row, columns, bits, reinterpret_cast<unsigned long long*>(kept));
  check_launch("pack");
}

void apply_mask(
    const void* values, const uint32_t* bits, void* out, int64_t rows, int64_t columns, int64_t out_columns,
    int64_t element_size, cudaStream_t stream) {
  apply(values, bits, out, rows, columns, out_columns, element_size, stream);
}

void clear_pruned(
    void* values, const uint32_t* bits, int64_t rows, int64_t columns, int64_t element_size, cudaStream_t stream) {
  apply(nullptr, bits, values, rows, columns, columns, element_size, stream);
}

} // namespace prunesweep::cuda
