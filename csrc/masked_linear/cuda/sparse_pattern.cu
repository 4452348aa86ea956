// From a mask to the two orders of its kept weights. Made once per mask, so simple rather than fast.

#include "masked_linear/cuda/sparse_tile.cuh"

namespace prunesweep::cuda {
namespace {

constexpr int kBuildThreads = 256;
constexpr int kScanThreads = 1024;

// The mask seen as [results, columns]
struct View {
  const uint8_t* mask;
  int64_t result_stride, column_stride;

  __device__ bool kept(int64_t result, int64_t column) const {
    return mask[result * result_stride + column * column_stride];
  }
};

// One thread for every chunk and result, results padded to whole tiles
__device__ int64_t thread_index() {
  return int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
}

__global__ void count_kernel(View view, SparseOrder order, uint16_t* counts) {
  const int64_t padded = order.tiles * kSparseLanes;
  const int64_t index = thread_index();
  if (index >= order.chunks * padded) {
    return;
  }
  const int64_t result = index % padded, first = index / padded * kSparseChunk;
  int count = 0;
  if (result < order.results) {
    const int64_t last = min(first + kSparseChunk, order.n_columns);
    for (int64_t column = first; column < last; ++column) {
      count += view.kept(result, column);
    }
  }
  counts[index] = count;
}

// Which lane computes which result of its tile: by number of kept weights, the most first. One thread for every
// result, padded.
__global__ void order_kernel(SparseOrder order, const uint16_t* counts) {
  const int64_t padded = order.tiles * kSparseLanes;
  const int64_t result = thread_index();
  const int lane = threadIdx.x % kSparseLanes;
  int64_t total = 0;
  if (result < padded) {
    for (int64_t chunk = 0; chunk < order.chunks; ++chunk) {
      total += counts[chunk * padded + result];
    }
  }
  int place = 0;
  for (int other = 0; other < kSparseLanes; ++other) {
    const int64_t count = __shfl_sync(0xffffffff, static_cast<long long>(total), other);
    place += count > total || (count == total && other < lane);
  }
  if (result < padded) {
    order.results_of_lanes[result - lane + place] = lane;
  }
}

// counts of the lanes from those of the results
__global__ void permute_kernel(SparseOrder order, const uint16_t* counts) {
  const int64_t padded = order.tiles * kSparseLanes;
  const int64_t index = thread_index();
  if (index < order.chunks * padded) {
    const int64_t slot = index % padded;
    order.counts[index] = counts[index - slot % kSparseLanes + order.results_of_lanes[slot]];
  }
}

// Where each chunk and tile starts: one block
__global__ void start_kernel(SparseOrder order) {
  __shared__ int32_t sums[kScanThreads];
  const int64_t units = order.chunks * order.tiles;
  int32_t before = 0;
  for (int64_t first = 0; first < units; first += kScanThreads) {
    const int64_t unit = first + threadIdx.x;
    int32_t own = 0;
    for (int lane = 0; unit < units && lane < kSparseLanes; ++lane) {
      own += order.counts[unit * kSparseLanes + lane];
    }
    sums[threadIdx.x] = own;
    __syncthreads();
    for (int step = 1; step < kScanThreads; step *= 2) {
      const int32_t left = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += left;
      __syncthreads();
    }
    if (unit < units) {
      order.starts[unit] = before + sums[threadIdx.x] - own;
    }
    before += sums[kScanThreads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    order.starts[units] = before;
  }
}

// One thread for every chunk and lane
__global__ void fill_kernel(View view, SparseOrder order) {
  const int64_t padded = order.tiles * kSparseLanes;
  const int64_t index = thread_index();
  if (index >= order.chunks * padded || order.counts[index] == 0) {
    return;
  }
  const int64_t slot = index % padded, lane = slot % kSparseLanes;
  const int64_t result = slot - lane + order.results_of_lanes[slot], first = index / padded * kSparseChunk;
  const uint16_t* const counts = order.counts + (index - lane);
  const int32_t start = order.starts[index / kSparseLanes];
  const int64_t last = min(first + kSparseChunk, order.n_columns);
  int turn = 0;
  for (int64_t column = first; column < last; ++column) {
    if (view.kept(result, column)) {
      int32_t at = start;
      for (int other = 0; other < kSparseLanes; ++other) {
        const int count = counts[other];
        at += min(count, turn) + (other < lane && count > turn); // earlier turns, and this turn's lanes before this one
      }
      order.columns[at] = static_cast<uint16_t>(column - first);
      order.positions[at] = static_cast<int32_t>(result * view.result_stride + column * view.column_stride);
      ++turn;
    }
  }
}

template <typename T>
T* allocate(const Allocate& from, int64_t count) {
  return static_cast<T*>(from(count * sizeof(T)));
}

SparseOrder build_order(
    const View& view, int64_t results, int64_t columns, int64_t kept, const Allocate& keep, const Allocate& scratch,
    cudaStream_t stream) {
  SparseOrder order{};
  order.results = results;
  order.n_columns = columns;
  order.tiles = divide_up(results, kSparseLanes);
  order.chunks = divide_up(columns, kSparseChunk);
  const int64_t padded = order.tiles * kSparseLanes;
  order.counts = allocate<uint16_t>(keep, order.chunks * padded);
  order.results_of_lanes = allocate<uint8_t>(keep, padded);
  order.starts = allocate<int32_t>(keep, order.chunks * order.tiles + 1);
  order.columns = allocate<uint16_t>(keep, kept);
  order.positions = allocate<int32_t>(keep, kept);
  auto* const counts = allocate<uint16_t>(scratch, order.chunks * padded);

  const auto all = static_cast<unsigned>(divide_up(order.chunks * padded, kBuildThreads));
  const auto one_chunk = static_cast<unsigned>(divide_up(padded, kBuildThreads));
  count_kernel<<<all, kBuildThreads, 0, stream>>>(view, order, counts);
  check_launch("sparse count");
  order_kernel<<<one_chunk, kBuildThreads, 0, stream>>>(order, counts);
  check_launch("sparse order");
  permute_kernel<<<all, kBuildThreads, 0, stream>>>(order, counts);
  check_launch("sparse permute");
  start_kernel<<<1, kScanThreads, 0, stream>>>(order);
  check_launch("sparse start");
  fill_kernel<<<all, kBuildThreads, 0, stream>>>(view, order);
  check_launch("sparse fill");
  return order;
}

} // namespace

bool sparse_supports(Dtype dtype, int64_t n_in, int64_t n_out) {
  return dtype != Dtype::kDouble && n_in <= INT32_MAX && n_out <= INT32_MAX && n_in * n_out <= INT32_MAX;
}

SparsePattern build_sparse_pattern(
    const uint8_t* mask, int64_t n_out, int64_t n_in, int64_t kept, const Allocate& keep, const Allocate& scratch,
    cudaStream_t stream) {
  return {
      n_out, n_in, kept, build_order({mask, n_in, 1}, n_out, n_in, kept, keep, scratch, stream),
      build_order({mask, 1, n_in}, n_in, n_out, kept, keep, scratch, stream)};
}

} // namespace prunesweep::cuda
