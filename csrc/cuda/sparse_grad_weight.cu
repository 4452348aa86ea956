// Gradient of the weight at the kept weights, and of the bias.
//
// A lane computes one kept weight over 32 rows: eight 16-byte reads from the tile of x and eight from that of the gradient. A block goes
// through the panels of kSparseChunk outputs, and within each through the chunks of inputs; slices of the rows have sums of their own, which
// are added up in order at the end.

#include "sparse_tile.cuh"

namespace prunesweep::cuda {
namespace {

constexpr int kTilesInPanel = kSparseChunk / kSparseLanes;
constexpr int kFlatThreads = 256;

// How the work is cut: slices of the tiles of rows x groups of the panels of outputs
struct Cut {
  int64_t tiles, panels;
  int slices, groups;
};

// A step of a block: a tile of rows, a panel of outputs, a chunk of inputs
struct Step {
  int64_t tile, panel, chunk;
};

// Grid: slices x groups. sums [slices, kept], bias_sums [slices, n_out] or null.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1) sums_kernel(
    SparseOrder order, int64_t kept, const T* __restrict__ grad, const T* __restrict__ x, float* __restrict__ sums,
    float* __restrict__ bias_sums, int64_t total_rows, Cut cut) {
  extern __shared__ __align__(128) unsigned char shared[];
  unsigned char *const x_tile = shared, *const grad_tile = shared + kChunkBytes;
  const int lane = threadIdx.x % 32;
  const int64_t n_out = order.results, n_in = order.columns;
  const int64_t slice = blockIdx.x / cut.groups, group = blockIdx.x % cut.groups;
  const int64_t first_tile = cut.tiles * slice / cut.slices, last_tile = cut.tiles * (slice + 1) / cut.slices;
  const int64_t first_panel = cut.panels * group / cut.groups, last_panel = cut.panels * (group + 1) / cut.groups;
  float* const own = sums + slice * kept;

  const auto load = [&](const T* from, int64_t columns, int64_t tile, int64_t chunk, T(&values)[kTileRows]) {
    const int rows = static_cast<int>(min(total_rows - tile * kTileRows, int64_t{kTileRows}));
    load_column(from, columns, tile * kTileRows, rows, chunk * kSparseChunk + threadIdx.x, values);
  };
  T x_values[kTileRows], grad_values[kTileRows];
  Step step{first_tile, first_panel, 0};
  bool new_x = true, new_grad = true;
  load(x, n_in, step.tile, step.chunk, x_values);
  load(grad, n_out, step.tile, step.panel, grad_values);
  while (step.tile < last_tile) {
    if (new_x) {
      store_column(x_tile, threadIdx.x, lane, x_values);
    }
    if (new_grad) {
      store_column(grad_tile, threadIdx.x, lane, grad_values);
      const int64_t output = step.panel * kSparseChunk + threadIdx.x;
      if (bias_sums && output < n_out) {
        float sum = 0;
#pragma unroll
        for (int n = 0; n < kTileRows; ++n) {
          sum += static_cast<float>(grad_values[n]);
        }
        float& to = bias_sums[slice * n_out + output]; // always this thread's
        to = step.tile == first_tile ? sum : to + sum;
      }
    }
    __syncthreads();

    Step next{step.tile, step.panel, step.chunk + 1};
    if (next.chunk == order.chunks) {
      next.chunk = 0;
      if (++next.panel == last_panel) {
        next.panel = first_panel;
        ++next.tile;
      }
    }
    const bool more = next.tile < last_tile;
    new_x = more && (next.tile != step.tile || next.chunk != step.chunk);
    new_grad = more && (next.tile != step.tile || next.panel != step.panel);
    if (new_x) {
      load(x, n_in, next.tile, next.chunk, x_values);
    }
    if (new_grad) {
      load(grad, n_out, next.tile, next.panel, grad_values);
    }

    const int32_t* const starts = order.starts + step.chunk * order.tiles;
    const int32_t last = starts[min((step.panel + 1) * kTilesInPanel, order.tiles)];
    int32_t e = starts[step.panel * kTilesInPanel] + static_cast<int32_t>(threadIdx.x);
    SparsePlace place = e < last ? order.places[e] : SparsePlace{};
    for (; e < last; e += kThreads) {
      const uint32_t column = uint32_t{place.column} * kColumnBytes, output = uint32_t{place.result} * kColumnBytes;
      if (e + kThreads < last) {
        place = order.places[e + kThreads];
      }
      float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const float4 a = group_of(x_tile, column, k, lane), b = group_of(grad_tile, output, k, lane);
        sum.x = fmaf(a.x, b.x, sum.x);
        sum.y = fmaf(a.y, b.y, sum.y);
        sum.z = fmaf(a.z, b.z, sum.z);
        sum.w = fmaf(a.w, b.w, sum.w);
      }
      const float total = (sum.x + sum.y) + (sum.z + sum.w);
      own[e] = step.tile == first_tile ? total : own[e] + total; // always this thread's
    }
    __syncthreads();
    step = next;
  }
}

// The sums of the slices, in order, to where they belong; no positions means side by side.
template <typename T>
__global__ void add_slices_kernel(
    const float* __restrict__ sums, int64_t size, int slices, const int32_t* __restrict__ positions, T* __restrict__ to) {
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

// As few turns of a block through a tile and a panel as can be; of equals the fewest slices, which cost memory and adding up. No more than
// 128 MB of sums, unless the blocks would be too few.
Cut choose_cut(const SparsePattern& pattern, int64_t rows) {
  constexpr int64_t kMostBytes = int64_t{128} << 20;
  const int64_t places = multiprocessors();
  Cut best{divide_up(rows, kTileRows), divide_up(pattern.n_out, kSparseChunk), 1, 1};
  const int64_t enough = std::max(divide_up(places, best.panels), kMostBytes / int64_t(pattern.kept * sizeof(float)));
  int64_t least = INT64_MAX;
  for (int64_t slices = 1; slices <= std::min({best.tiles, 2 * places, enough}); ++slices) {
    const int64_t fitting = std::max<int64_t>(1, places / slices);
    for (const int64_t groups : {std::min(best.panels, fitting), std::min(best.panels, fitting + 1)}) {
      const int64_t turns =
          divide_up(slices * groups, places) * divide_up(best.tiles, slices) * divide_up(best.panels, groups);
      if (turns < least) {
        least = turns;
        best.slices = static_cast<int>(slices);
        best.groups = static_cast<int>(groups);
      }
    }
  }
  return best;
}

template <typename T>
void gradients(
    const SparsePattern& pattern, const T* grad, const T* x, T* grad_weight, T* grad_bias, int64_t rows,
    const Allocate& scratch, cudaStream_t stream) {
  const Cut cut = choose_cut(pattern, rows);
  auto* const sums = static_cast<float*>(scratch(cut.slices * pattern.kept * sizeof(float)));
  auto* const bias_sums =
      grad_bias ? static_cast<float*>(scratch(cut.slices * pattern.n_out * sizeof(float))) : nullptr;
  check(
      cudaMemsetAsync(grad_weight, 0, pattern.n_out * pattern.n_in * sizeof(T), stream), "cudaMemsetAsync");
  static SharedMemory shared;
  shared.allow(reinterpret_cast<const void*>(&sums_kernel<T>), 2 * kChunkBytes);
  sums_kernel<T><<<cut.slices * cut.groups, kThreads, 2 * kChunkBytes, stream>>>(
      pattern.by_output, pattern.kept, grad, x, sums, bias_sums, rows, cut);
  check_launch("sparse gradient of the weight");
  const auto add = [&](const float* from, int64_t size, const int32_t* positions, T* to) {
    add_slices_kernel<T><<<static_cast<unsigned>(divide_up(size, kFlatThreads)), kFlatThreads, 0, stream>>>(
        from, size, cut.slices, positions, to);
    check_launch("sparse add slices");
  };
  add(sums, pattern.kept, pattern.by_output.positions, grad_weight);
  if (grad_bias) {
    add(bias_sums, pattern.n_out, nullptr, grad_bias);
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
