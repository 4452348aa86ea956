// The products of the masked linear layer with the kept weights alone, for low densities. Arithmetic in float32,
// rounded once; the same inputs give the same bits. Nothing here waits for the device or reads from it, so all of it
// can be captured in a graph.
//
// What bounds them is shared memory: every kept weight reads one value of the other operand per row, 32 of them a
// cycle and multiprocessor. Bank conflicts would multiply that, so everything is laid out to have none: see
// sparse_tile.cuh.

#pragma once

#include "common/cuda/runtime.h"

namespace prunesweep::cuda {

constexpr int kSparseLanes = 32; // results in a tile, one for each lane of a warp
constexpr int kSparseChunk = 512; // columns in a chunk, what a block has in shared memory at once

// The kept weights as one product needs them: results are what it computes, columns what it sums over. They are
// ordered by chunk of columns, then by tile of results, then by turn: the first weight of every lane that has one,
// then the second of every lane that has two, ... So a warp finds each turn's weights side by side, and no room is
// lost to lanes that have fewer.
struct SparseOrder {
  int64_t results, n_columns, tiles, chunks;
  uint16_t* counts; // [chunks, tiles, lanes], kept weights of each lane
  uint8_t* results_of_lanes; // [tiles, lanes], within the tile: lanes with alike counts are neighbours
  int32_t* starts; // [chunks * tiles + 1]
  uint16_t* columns; // [kept], within their chunk
  int32_t* positions; // [kept], in the dense weight
};

struct SparsePattern {
  int64_t n_out, n_in, kept;
  SparseOrder by_output, by_input;
};

// Whether the functions below support such a layer; they also need at least one row, feature and kept weight.
bool sparse_supports(Dtype dtype, int64_t n_in, int64_t n_out);

// mask [n_out, n_in], nonzero byte = kept, exactly `kept` of them. Memory from `keep` must live as long as the pattern.
SparsePattern build_sparse_pattern(
    const uint8_t* mask, int64_t n_out, int64_t n_in, int64_t kept, const Allocate& keep, const Allocate& scratch,
    cudaStream_t stream);

// y [rows, n_out] = x [rows, n_in] (weight * mask)^T + bias; bias [n_out] may be null. Pruned weights are not read:
// an infinity in x gives no NaN through one.
void sparse_output(
    const SparsePattern& pattern, const void* x, const void* weight, const void* bias, void* y, int64_t rows,
    Dtype dtype, const Allocate& scratch, cudaStream_t stream);

// grad_x [rows, n_in] = grad [rows, n_out] (weight * mask)
void sparse_grad_input(
    const SparsePattern& pattern, const void* grad, const void* weight, void* grad_x, int64_t rows, Dtype dtype,
    const Allocate& scratch, cudaStream_t stream);

// grad_weight [n_out, n_in] = mask * (grad^T x), zeros included; grad_bias [n_out] = sums of grad over the rows, may
// be null.
void sparse_grad_weight(
    const SparsePattern& pattern, const void* grad, const void* x, void* grad_weight, void* grad_bias, int64_t rows,
    Dtype dtype, const Allocate& scratch, cudaStream_t stream);

} // namespace prunesweep::cuda
