// Gradient of the weight at the kept weights, and of the bias.
//
// A lane holds the gradient of one output for 32 rows in registers, straight from global memory, and goes through the
// output's kept weights: each costs eight 16-byte reads from the tile of x, 32 fused multiply-adds and no work with
// other lanes. With one chunk of inputs a block keeps its tile of x and goes through many tiles of outputs; with
// more, it keeps its outputs and goes through the chunks. Slices of the rows have separate sums, which are
// added up in order at the end.

#include "masked_linear/cuda/sparse_tile.cuh"

namespace prunesweep::cuda {
namespace {

constexpr int kFlatThreads = 256;

// How the work is cut: slices of the tiles of rows x groups of the tiles of outputs
struct Cut {
  int64_t row_tiles;
  int slices, groups;
};

// Where the sums go: [slices, kept], [slices, n_out] or null
struct Sums {
  float *weight, *bias;
};

// The part of a block
struct Slice {
  int64_t first, last; // tiles of rows
  float *weight, *bias;
  int group;

  __device__ Slice(const SparseOrder& order, int64_t kept, const Cut& cut, const Sums& sums)
      : group(blockIdx.x % cut.groups) {
    const int64_t slice = blockIdx.x / cut.groups;
    first = cut.row_tiles * slice / cut.slices;
    last = cut.row_tiles * (slice + 1) / cut.slices;
    weight = sums.weight + slice * kept;
    bias = sums.bias ? sums.bias + slice * order.results : nullptr;
  }

  // What the sum is before this tile. Every sum belongs to one thread, so no thread has to wait.
  __device__ __forceinline__ float before(const float& sum, int64_t row_tile) const {
    return row_tile == first ? 0.0f : sum;
  }
};

// The gradient of one output as the lane visits the groups of its rows; its sum goes to the bias.
template <typename T>
__device__ __forceinline__ void load_gradient(
    const SparseOrder& order, const T* grad, int64_t total_rows, const Slice& slice, int64_t row_tile, int64_t output,
    int lane, float (&gradient)[kTileRows]) {
  T values[kTileRows];
  load_column(grad, order.results, row_tile * kTileRows, rows_in_tile(total_rows, row_tile), output, values);
  to_float(values, gradient);
  if (slice.bias && output < order.results) {
    const float before = slice.before(slice.bias[output], row_tile);
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kTileRows; ++n) {
      sum += gradient[n];
    }
    slice.bias[output] = before + sum;
  }
  exchange_groups(gradient, lane);
}

__device__ __forceinline__ void add_turns(
    Turns<uint16_t>& turns, const Slice& slice, int64_t row_tile, const float (&gradient)[kTileRows],
    unsigned char* tile, int lane) {
  while (turns.any()) {
    turns.take([&](uint16_t column, int32_t index) {
      const float before = slice.before(slice.weight[index], row_tile);
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float4 x = group_of(tile, uint32_t{column} * kColumnBytes, k, lane);
        sum.x = fmaf(gradient[4 * k], x.x, sum.x);
        sum.y = fmaf(gradient[4 * k + 1], x.y, sum.y);
        sum.z = fmaf(gradient[4 * k + 2], x.z, sum.z);
        sum.w = fmaf(gradient[4 * k + 3], x.w, sum.w);
      }
      slice.weight[index] = before + ((sum.x + sum.y) + (sum.z + sum.w));
    });
  }
}

// Grid: slices x groups
template <typename T>
__global__ void __launch_bounds__(kThreads, 2) one_chunk_kernel(
    SparseOrder order, int64_t kept, const T* __restrict__ grad, const T* __restrict__ x, Sums sums, int64_t total_rows,
    Cut cut) {
  extern __shared__ __align__(128) unsigned char tile[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Slice slice(order, kept, cut, sums);
  for (int64_t row_tile = slice.first; row_tile < slice.last; ++row_tile) {
    __syncthreads(); // all threads have read the last tile
    if (static_cast<int>(threadIdx.x) < order.n_columns) {
      T values[kTileRows];
      load_column(x, order.n_columns, row_tile * kTileRows, rows_in_tile(total_rows, row_tile), threadIdx.x, values);
      store_column(tile, threadIdx.x, lane, values);
    }
    __syncthreads();
    for (int64_t t = slice.group + int64_t{cut.groups} * warp; t < order.tiles; t += int64_t{cut.groups} * kWarps) {
      Turns<uint16_t> turns(share_of(order, 0, t, lane), order.columns, lane);
      float gradient[kTileRows];
      load_gradient(order, grad, total_rows, slice, row_tile, result_of_lane(order, t, lane), lane, gradient);
      add_turns(turns, slice, row_tile, gradient, tile, lane);
    }
  }
}

// Grid: slices x groups of kWarps tiles of outputs
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) many_chunks_kernel(
    SparseOrder order, int64_t kept, const T* __restrict__ grad, const T* __restrict__ x, Sums sums, int64_t total_rows,
    Cut cut) {
  extern __shared__ __align__(128) unsigned char tiles[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Slice slice(order, kept, cut, sums);
  const int64_t t = int64_t{slice.group} * kWarps + warp;
  const bool works = t < order.tiles; // the others help to load x

  T values[kTileRows];
  const auto load = [&](int64_t row_tile, int64_t chunk) {
    load_column(
        x, order.n_columns, row_tile * kTileRows, rows_in_tile(total_rows, row_tile),
        chunk * kSparseChunk + threadIdx.x, values);
  };
  load(slice.first, 0);
  int buffer = 0;
  for (int64_t row_tile = slice.first; row_tile < slice.last; ++row_tile) {
    float gradient[kTileRows];
    if (works) {
      load_gradient(order, grad, total_rows, slice, row_tile, result_of_lane(order, t, lane), lane, gradient);
    }
    for (int64_t chunk = 0; chunk < order.chunks; ++chunk, buffer ^= 1) {
      // Two buffers: a thread that writes one is past the barrier that all threads reached after reading it.
      unsigned char* const tile = tiles + buffer * kChunkBytes;
      Turns<uint16_t> turns(works ? share_of(order, chunk, t, lane) : Share{}, order.columns, lane);
      store_column(tile, threadIdx.x, lane, values);
      __syncthreads();
      const bool stays = chunk + 1 < order.chunks;
      const int64_t next_tile = stays ? row_tile : row_tile + 1;
      if (next_tile < slice.last) {
        load(next_tile, stays ? chunk + 1 : 0);
      }
      add_turns(turns, slice, row_tile, gradient, tile, lane);
    }
  }
}

// The sums of the slices, in order, to where they belong; no positions means side by side.
template <typename T>
__global__ void add_slices_kernel(
    const float* __restrict__ sums, int64_t size, int slices, const int32_t* __restrict__ positions,
    T* __restrict__ to) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) {
    float total = 0;
#pragma unroll 8
    for (int s = 0; s < slices; ++s) {
      total += sums[s * size + i];
    }
    to[positions ? positions[i] : i] = static_cast<T>(total);
  }
}

// The least time, of the blocks and of adding the slices up. No more than 128 MB of sums, unless the blocks would be
// too few.
Cut choose_cut(const SparseOrder& order, int64_t kept, int64_t rows) {
  constexpr int64_t kMostBytes = int64_t{128} << 20;
  const bool one_chunk = order.chunks == 1;
  const int64_t places = multiprocessors() * (one_chunk ? 2 : 1), all_groups = divide_up(order.tiles, kWarps);
  Cut best{divide_up(rows, kTileRows), 1, static_cast<int>(all_groups)};
  const int64_t affordable =
      std::max(divide_up(places, all_groups), kMostBytes / static_cast<int64_t>(kept * sizeof(float)));
  double least = 0;
  for (int64_t slices = 1; slices <= std::min({best.row_tiles, places, affordable}); ++slices) {
    const int64_t groups = one_chunk ? std::clamp<int64_t>(places / slices, 1, all_groups) : all_groups;
    const double time =
        divide_up(slices * groups, places) * divide_up(best.row_tiles, slices) * block_work(order, kept, groups, 3.0) +
        0.5 * slices * kept / places;
    if (slices == 1 || time < least) {
      best.slices = static_cast<int>(slices);
      best.groups = static_cast<int>(groups);
      least = time;
    }
  }
  return best;
}

template <typename T>
void gradients(
    const SparsePattern& pattern, const T* grad, const T* x, T* grad_weight, T* grad_bias, int64_t rows,
    const Allocate& scratch, cudaStream_t stream) {
  const auto& order = pattern.by_output;
  const Cut cut = choose_cut(order, pattern.kept, rows);
  const auto floats = [&](int64_t count) { return static_cast<float*>(scratch(count * sizeof(float))); };
  const Sums sums{floats(cut.slices * pattern.kept), grad_bias ? floats(cut.slices * pattern.n_out) : nullptr};
  check(cudaMemsetAsync(grad_weight, 0, pattern.n_out * pattern.n_in * sizeof(T), stream), "cudaMemsetAsync");
  const unsigned blocks = cut.slices * cut.groups;
  if (order.chunks == 1) {
    static SharedMemory shared;
    shared.allow(reinterpret_cast<const void*>(&one_chunk_kernel<T>), kChunkBytes);
    one_chunk_kernel<T>
        <<<blocks, kThreads, order.n_columns * kColumnBytes, stream>>>(order, pattern.kept, grad, x, sums, rows, cut);
  } else {
    static SharedMemory shared;
    shared.allow(reinterpret_cast<const void*>(&many_chunks_kernel<T>), 2 * kChunkBytes);
    many_chunks_kernel<T><<<blocks, kThreads, 2 * kChunkBytes, stream>>>(order, pattern.kept, grad, x, sums, rows, cut);
  }
  check_launch("sparse gradient of the weight");
  const auto add = [&](const float* from, int64_t size, const int32_t* positions, T* to) {
    add_slices_kernel<T><<<static_cast<unsigned>(divide_up(size, kFlatThreads)), kFlatThreads, 0, stream>>>(
        from, size, cut.slices, positions, to);
    check_launch("sparse add slices");
  };
  add(sums.weight, pattern.kept, order.positions, grad_weight);
  if (grad_bias) {
    add(sums.bias, pattern.n_out, nullptr, grad_bias);
  }
}

} // namespace

void sparse_grad_weight(
    const SparsePattern& pattern, const void* grad, const void* x, void* grad_weight, void* grad_bias, int64_t rows,
    Dtype dtype, const Allocate& scratch, cudaStream_t stream) {
  with_type(dtype, [&]<typename T>(T) {
    gradients(
        pattern, static_cast<const T*>(grad), static_cast<const T*>(x), static_cast<T*>(grad_weight),
        static_cast<T*>(grad_bias), rows, scratch, stream);
  });
}

} // namespace prunesweep::cuda
