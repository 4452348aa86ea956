#include "global_mask/cuda/topk.h"

#include "global_mask/cuda/finish.cuh"
#include "global_mask/cuda/mark.cuh"
#include "global_mask/cuda/sample.cuh"
#include "global_mask/cuda/select.cuh"

#include <algorithm>
#include <cmath>

namespace prunesweep::cuda {
namespace {

constexpr int64_t kSampleSize = 1 << 15;

// As many pieces as fit into the parameters of a kernel: then they need no buffer that outlives the call.
constexpr int kGroup = 60;
struct PieceGroup {
  DevicePiece pieces[kGroup];
};

__global__ void store_pieces(const __grid_constant__ PieceGroup group, int count, DevicePiece* to) {
  if (static_cast<int>(threadIdx.x) < count) {
    to[threadIdx.x] = group.pieces[threadIdx.x];
  }
}

std::vector<DevicePiece> with_places(const std::vector<Piece>& pieces) {
  std::vector<DevicePiece> result;
  int64_t begin = 0;
  int64_t chunk = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& p = pieces[i];
    if (p.size > 0) {
      result.push_back({p.scores, p.weights, p.within, p.mask, p.size, begin, chunk, static_cast<int64_t>(i)});
      begin += p.size;
      chunk += (p.size + kChunk - 1) / kChunk;
    }
  }
  return result;
}

const DevicePiece* to_device(const std::vector<DevicePiece>& pieces, const Allocate& allocate, cudaStream_t stream) {
  auto* table = static_cast<DevicePiece*>(allocate(std::max<size_t>(pieces.size(), 1) * sizeof(DevicePiece)));
  for (size_t first = 0; first < pieces.size(); first += kGroup) {
    const size_t count = std::min<size_t>(kGroup, pieces.size() - first);
    PieceGroup group = {};
    std::copy_n(pieces.begin() + first, count, group.pieces);
    store_pieces<<<1, 64, 0, stream>>>(group, static_cast<int>(count), table + first);
    check_launch("store_pieces");
  }
  return table;
}

// Ranks in the sample between which the threshold is, except in about one call in ten thousand, and room for twice the
// keys expected there.
template <typename K>
void plan_bracket(Work<K>& work) {
  work.sample_size = std::min(work.total, kSampleSize);
  if (work.sample_size == work.total) {
    work.from = work.to = work.keep - 1;
    work.capacity = 1;
    return;
  }
  const auto sampled = static_cast<double>(work.sample_size);
  const double share = std::min(1.0, (static_cast<double>(work.keep) - 0.5) / static_cast<double>(work.total));
  const double margin = 4 * std::sqrt(sampled * std::max(share, 0.0) * (1 - share)) + 4;
  work.from = static_cast<int64_t>(std::floor(share * sampled - margin));
  work.to = static_cast<int64_t>(std::ceil(share * sampled + margin));
  const double expected = static_cast<double>(work.to - work.from + 1) / sampled * static_cast<double>(work.total);
  work.capacity = std::min(work.total, static_cast<int64_t>(2.25 * expected) + kChunk);
}

template <Dtype kDtype>
void select_masks(
    const std::vector<Piece>& listed, int64_t keep, TopkResult* result, const Allocate& allocate, cudaStream_t stream) {
  using S = Scalar<kDtype>;
  using K = typename S::Key;
  const auto pieces = with_places(listed);
  Work<K> work = {};
  work.keep = keep;
  work.result = result;
  work.piece_count = static_cast<int64_t>(pieces.size());
  if (!pieces.empty()) {
    const auto& last = pieces.back();
    work.total = last.begin + last.size;
    work.chunks = last.first_chunk + (last.size + kChunk - 1) / kChunk;
  }
  plan_bracket(work);

  const auto make = [&](auto*& array, int64_t size) {
    using T = std::remove_reference_t<decltype(*array)>;
    array = static_cast<T*>(allocate(std::max<int64_t>(size, 1) * sizeof(T)));
  };
  work.pieces = to_device(pieces, allocate, stream);
  make(work.sample, work.sample_size);
  make(work.keys, work.capacity);
  make(work.offsets, work.capacity);
  make(work.piece_of, work.chunks);
  make(work.collected_begin, work.chunks);
  make(work.collected_size, work.chunks);
  make(work.at_high, work.chunks);
  make(work.at_low, work.chunks);
  make(work.tied, work.chunks);
  make(work.state, 1);

  // Kernels that loop have as many blocks as run at a time, so that unneeded ones exit immediately.
  const int64_t processors = multiprocessors();
  const auto blocks = [](int64_t needed, int64_t most) {
    return static_cast<unsigned>(std::clamp<int64_t>(needed, 1, most));
  };
  const unsigned few = blocks((work.chunks + 1) / 2, processors);
  const unsigned many = blocks(work.chunks, 8 * processors);

  take_sample<S><<<blocks((work.sample_size + 255) / 256, 128), 256, 0, stream>>>(work);
  check_launch("take_sample");
  find_bracket<<<1, kSampleThreads, 0, stream>>>(work);
  check_launch("find_bracket");
  mark_all<S><<<blocks(work.chunks, 1 << 30), kChunkThreads, 0, stream>>>(work);
  check_launch("mark_all");
  choose_stage<<<1, 1, 0, stream>>>(work);
  check_launch("choose_stage");
  for (int step = 0; step < kSteps<K>; ++step) {
    select_digit<S><<<few, kSelectThreads, 0, stream>>>(work);
    check_launch("select_digit");
  }
  settle<S><<<many, kChunkThreads, 0, stream>>>(work);
  check_launch("settle");
  find_cut<<<1, kCutThreads, 0, stream>>>(work);
  check_launch("find_cut");
  finish<<<many, kChunkThreads, 0, stream>>>(work);
  check_launch("finish");
}

} // namespace

void topk_masks(
    const std::vector<Piece>& pieces, Dtype dtype, int64_t keep, TopkResult* result, const Allocate& allocate,
    cudaStream_t stream) {
  switch (dtype) {
    case Dtype::kFloat:
      return select_masks<Dtype::kFloat>(pieces, keep, result, allocate, stream);
    case Dtype::kDouble:
      return select_masks<Dtype::kDouble>(pieces, keep, result, allocate, stream);
    case Dtype::kBFloat16:
      return select_masks<Dtype::kBFloat16>(pieces, keep, result, allocate, stream);
    case Dtype::kHalf:
      return select_masks<Dtype::kHalf>(pieces, keep, result, allocate, stream);
  }
}

} // namespace prunesweep::cuda
