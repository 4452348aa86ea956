// Output and gradient of the input: Y[n, r] = sum over the kept (r, c) of X[n, c] S[r, c].
//
// A lane computes one result r for 32 rows, in registers. Each of its kept weights costs it eight 16-byte reads from
// the tile of X and 32 fused multiply-adds. With one chunk of columns a block keeps its tile of X and goes through
// many tiles of results; with more, it keeps its results in registers and goes through the chunks, the next one
// being loaded to registers while the current one is used.

#include "masked_linear/cuda/sparse_tile.cuh"

namespace prunesweep::cuda {
namespace {

// A kept weight of this call
struct alignas(8) Entry {
  uint32_t column; // where its column starts in the tile of X, bytes
  float weight;
};

template <typename T>
__global__ void gather_kernel(
    const uint16_t* __restrict__ columns, const int32_t* __restrict__ positions, const T* __restrict__ weight,
    Entry* __restrict__ entries, int64_t kept) {
  const int64_t e = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (e < kept) {
    entries[e] = {uint32_t{columns[e]} * kColumnBytes, static_cast<float>(weight[positions[e]])};
  }
}

__device__ __forceinline__ void add_turns(
    Turns<Entry>& turns, float (&sums)[kTileRows], unsigned char* tile, int lane) {
  while (turns.any()) {
    turns.take([&](Entry entry, int32_t) {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float4 x = group_of(tile, entry.column, k, lane);
        sums[4 * k] = fmaf(entry.weight, x.x, sums[4 * k]);
        sums[4 * k + 1] = fmaf(entry.weight, x.y, sums[4 * k + 1]);
        sums[4 * k + 2] = fmaf(entry.weight, x.z, sums[4 * k + 2]);
        sums[4 * k + 3] = fmaf(entry.weight, x.w, sums[4 * k + 3]);
      }
    });
  }
}

// The sums of one lane to the rows of y. The lanes of a warp write 32 neighbours, in some order.
template <typename T>
__device__ __forceinline__ void write_results(
    float (&sums)[kTileRows], T* __restrict__ y, int64_t results, int64_t result, int64_t first_row, int rows,
    float bias, int lane) {
  exchange_groups(sums, lane);
  if (result < results) {
    T* to = y + first_row * results + result;
#pragma unroll
    for (int n = 0; n < kTileRows; ++n, to += results) {
      if (n < rows) {
        *to = static_cast<T>(sums[n] + bias);
      }
    }
  }
}

template <typename T>
__device__ __forceinline__ float bias_of(const T* bias, int64_t result, int64_t results) {
  return bias && result < results ? static_cast<float>(bias[result]) : 0.0f;
}

// Grid: tiles of rows x groups of tiles of results
template <typename T>
__global__ void __launch_bounds__(kThreads, 2) one_chunk_kernel(
    SparseOrder order, const Entry* __restrict__ entries, const T* __restrict__ x, const T* __restrict__ bias,
    T* __restrict__ y, int64_t total_rows, int groups) {
  extern __shared__ __align__(128) unsigned char tile[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row_tile = blockIdx.x / groups, first_row = row_tile * kTileRows;
  const int rows = rows_in_tile(total_rows, row_tile);
  if (static_cast<int>(threadIdx.x) < order.n_columns) {
    T values[kTileRows];
    load_column(x, order.n_columns, first_row, rows, threadIdx.x, values);
    store_column(tile, threadIdx.x, lane, values);
  }
  __syncthreads();
  for (int64_t t = blockIdx.x % groups + int64_t{groups} * warp; t < order.tiles; t += int64_t{groups} * kWarps) {
    const int64_t result = result_of_lane(order, t, lane);
    float sums[kTileRows] = {};
    Turns<Entry> turns(share_of(order, 0, t, lane), entries, lane);
    add_turns(turns, sums, tile, lane);
    write_results(sums, y, order.results, result, first_row, rows, bias_of(bias, result, order.results), lane);
  }
}

// Grid: tiles of rows x groups of kWarps tiles of results, splits of the chunks. With several splits each writes its
// own sums, float32 [splits, rows, results], the bias in the first.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) many_chunks_kernel(
    SparseOrder order, const Entry* __restrict__ entries, const T* __restrict__ x, const T* __restrict__ bias,
    T* __restrict__ y, float* __restrict__ partial, int64_t total_rows, int groups) {
  extern __shared__ __align__(128) unsigned char tiles[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t row_tile = blockIdx.x / groups, first_row = row_tile * kTileRows;
  const int rows = rows_in_tile(total_rows, row_tile);
  const int64_t t = int64_t{blockIdx.x % groups} * kWarps + warp;
  const bool works = t < order.tiles; // the others help to load X
  const int64_t first = order.chunks * blockIdx.y / gridDim.y, last = order.chunks * (blockIdx.y + 1) / gridDim.y;

  T values[kTileRows];
  float sums[kTileRows] = {};
  load_column(x, order.n_columns, first_row, rows, first * kSparseChunk + threadIdx.x, values);
  Share share = works ? share_of(order, first, t, lane) : Share{};
  for (int64_t chunk = first; chunk < last; ++chunk) {
    // Two buffers: a thread that writes one is past the barrier that all threads reached after reading it.
    unsigned char* const tile = tiles + (chunk - first) % 2 * kChunkBytes;
    Turns<Entry> turns(share, entries, lane);
    store_column(tile, threadIdx.x, lane, values);
    __syncthreads();
    if (chunk + 1 < last) {
      load_column(x, order.n_columns, first_row, rows, (chunk + 1) * kSparseChunk + threadIdx.x, values);
      if (works) {
        share = share_of(order, chunk + 1, t, lane);
      }
    }
    add_turns(turns, sums, tile, lane);
  }
  if (works) {
    const int64_t result = result_of_lane(order, t, lane);
    const float start = blockIdx.y == 0 ? bias_of(bias, result, order.results) : 0.0f;
    if (partial) {
      write_results(
          sums, partial + blockIdx.y * total_rows * order.results, order.results, result, first_row, rows, start, lane);
    } else {
      write_results(sums, y, order.results, result, first_row, rows, start, lane);
    }
  }
}

template <typename T>
__global__ void add_splits_kernel(const float* __restrict__ partial, T* __restrict__ y, int64_t size, int splits) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) {
    float sum = partial[i];
    for (int s = 1; s < splits; ++s) {
      sum += partial[s * size + i];
    }
    y[i] = static_cast<T>(sum);
  }
}

constexpr int kFlatThreads = 256;

unsigned flat_blocks(int64_t size) {
  return static_cast<unsigned>(divide_up(size, kFlatThreads));
}

// How many groups of results share the rows' tiles, with room for two blocks per multiprocessor: full waves weighed
// against loading X again.
int choose_groups(const SparseOrder& order, int64_t kept, int64_t row_tiles, int64_t places) {
  int best = 1;
  double least = 0;
  for (int groups = 1; groups <= std::min(order.tiles, places); ++groups) {
    const double time = divide_up(row_tiles * groups, places) * block_work(order, kept, groups, 2.0);
    if (groups == 1 || time < least) {
      best = groups;
      least = time;
    }
  }
  return best;
}

// How many blocks share the chunks of a result when there are few: in turns of a block through one chunk, and what
// adding up costs.
int choose_splits(int64_t chunks, int64_t blocks, int64_t places) {
  int best = 1;
  double least = static_cast<double>(divide_up(blocks, places) * chunks);
  for (int splits = 2; splits <= std::min<int64_t>(chunks, 64); ++splits) {
    const double time = divide_up(blocks * splits, places) * (divide_up(chunks, splits) + 1.0) + 1.0;
    if (time < least) {
      best = splits;
      least = time;
    }
  }
  return best;
}

template <typename T>
void product(
    const SparseOrder& order, int64_t kept, const T* x, const T* weight, const T* bias, T* y, int64_t rows,
    const Allocate& scratch, cudaStream_t stream) {
  auto* const entries = static_cast<Entry*>(scratch(kept * sizeof(Entry)));
  gather_kernel<T>
      <<<flat_blocks(kept), kFlatThreads, 0, stream>>>(order.columns, order.positions, weight, entries, kept);
  check_launch("sparse gather");

  const int64_t row_tiles = divide_up(rows, kTileRows);
  if (order.chunks == 1) {
    static SharedMemory shared;
    shared.allow(reinterpret_cast<const void*>(&one_chunk_kernel<T>), kChunkBytes);
    const int groups = choose_groups(order, kept, row_tiles, 2 * multiprocessors());
    one_chunk_kernel<T>
        <<<static_cast<unsigned>(row_tiles * groups), kThreads, order.n_columns * kColumnBytes, stream>>>(
            order, entries, x, bias, y, rows, groups);
    check_launch("sparse product, one chunk");
    return;
  }
  static SharedMemory shared;
  shared.allow(reinterpret_cast<const void*>(&many_chunks_kernel<T>), 2 * kChunkBytes);
  const int64_t groups = divide_up(order.tiles, kWarps), blocks = row_tiles * groups;
  const int splits = choose_splits(order.chunks, blocks, multiprocessors());
  const int64_t size = rows * order.results;
  auto* const partial = splits > 1 ? static_cast<float*>(scratch(splits * size * sizeof(float))) : nullptr;
  const dim3 grid(static_cast<unsigned>(blocks), splits);
  many_chunks_kernel<T><<<grid, kThreads, 2 * kChunkBytes, stream>>>(
      order, entries, x, bias, y, partial, rows, static_cast<int>(groups));
  check_launch("sparse product, many chunks");
  if (partial) {
    add_splits_kernel<T><<<flat_blocks(size), kFlatThreads, 0, stream>>>(partial, y, size, splits);
    check_launch("sparse add splits");
  }
}

} // namespace

void sparse_output(
    const SparsePattern& pattern, const void* x, const void* weight, const void* bias, void* y, int64_t rows,
    Dtype dtype, const Allocate& scratch, cudaStream_t stream) {
  with_type(dtype, [&]<typename T>(T) {
    product(
        pattern.by_output, pattern.kept, static_cast<const T*>(x), static_cast<const T*>(weight),
        static_cast<const T*>(bias), static_cast<T*>(y), rows, scratch, stream);
  });
}

void sparse_grad_input(
    const SparsePattern& pattern, const void* grad, const void* weight, void* grad_x, int64_t rows, Dtype dtype,
    const Allocate& scratch, cudaStream_t stream) {
  with_type(dtype, [&]<typename T>(T) {
    product<T>(
        pattern.by_input, pattern.kept, static_cast<const T*>(grad), static_cast<const T*>(weight), nullptr,
        static_cast<T*>(grad_x), rows, scratch, stream);
  });
}

} // namespace prunesweep::cuda
