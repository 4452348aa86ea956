// Tiles of row-major matrices in shared memory, loaded by the whole block of 256 threads.

#pragma once

#include "masked_linear/cuda/fused_launch.cuh"
#include "masked_linear/cuda/fused_ptx.cuh"

namespace prunesweep::cuda {

// How the rows of a matrix may be read: by what their addresses are multiples of.
enum class Access { kVector, kWord, kElement }; // 16 bytes, 4 bytes, one element

template <class T>
Access access_to(const T* matrix, int64_t columns) {
  const auto bits =
      reinterpret_cast<uintptr_t>(matrix) | static_cast<uintptr_t>(columns * static_cast<int64_t>(sizeof(T)));
  return bits % 16 == 0 ? Access::kVector : bits % 4 == 0 ? Access::kWord : Access::kElement;
}

template <class T>
struct Matrix {
  const T* data;
  int rows;
  int columns;
  Access access;
};

template <class T>
Matrix<T> matrix(const void* data, int64_t rows, int64_t columns) {
  const auto* typed = static_cast<const T*>(data);
  return {typed, static_cast<int>(rows), static_cast<int>(columns), access_to(typed, columns)};
}

template <int kBytes, int kRows, int kColumns, int kPitch, class T>
__device__ void copy_tile(T* tile, const Matrix<T>& matrix, int row0, int column0) {
  constexpr int kCount = kBytes / sizeof(T);
  constexpr int kChunks = kColumns / kCount;
  constexpr int kStep = kThreads / kChunks; // rows
  constexpr int kUnroll = kBytes == 16 ? 8 : 4;
  static_assert(kThreads % kChunks == 0);
  const int first = static_cast<int>(threadIdx.x) / kChunks;
  const int column = static_cast<int>(threadIdx.x) % kChunks * kCount;
  const int bytes = min(max(matrix.columns - column0 - column, 0), kCount) * static_cast<int>(sizeof(T));
  const T* from = matrix.data + static_cast<int64_t>(row0 + first) * matrix.columns + column0 + column;
  T* to = tile + first * kPitch + column;
#pragma unroll kUnroll
  for (int row = first; row < kRows; row += kStep) {
    const int inside = row0 + row < matrix.rows ? bytes : 0;
    copy_async<kBytes>(to, inside > 0 ? from : matrix.data, inside);
    from += static_cast<int64_t>(kStep) * matrix.columns;
    to += kStep * kPitch;
  }
}

// tile[r * kPitch + c] = matrix[row0 + r][column0 + c], zero outside of the matrix. column0 is a multiple of 16 bytes.
// The copies are in flight when this returns: commit_copies, wait_copies and a barrier make them visible.
template <int kRows, int kColumns, int kPitch, class T>
__device__ void load_tile(T* tile, const Matrix<T>& matrix, int row0, int column0) {
  static_assert(kColumns * sizeof(T) % 16 == 0 && kPitch * sizeof(T) % 16 == 0);
  if (matrix.access == Access::kVector) {
    copy_tile<16, kRows, kColumns, kPitch>(tile, matrix, row0, column0);
  } else if (sizeof(T) == 4 || matrix.access == Access::kWord) {
    copy_tile<4, kRows, kColumns, kPitch>(tile, matrix, row0, column0);
  } else {
    constexpr int kStep = kThreads / kColumns;
    static_assert(kThreads % kColumns == 0);
    const int first = static_cast<int>(threadIdx.x) / kColumns;
    const int column = static_cast<int>(threadIdx.x) % kColumns;
    const int rows = column0 + column < matrix.columns ? matrix.rows - row0 : 0;
    const T* from = matrix.data + static_cast<int64_t>(row0 + first) * matrix.columns + column0 + column;
    T* to = tile + first * kPitch + column;
#pragma unroll 8
    for (int row = first; row < kRows; row += kStep) {
      *to = row < rows ? *from : T(0.0f);
      from += static_cast<int64_t>(kStep) * matrix.columns;
      to += kStep * kPitch;
    }
  }
}

// Whether a row of 2-byte elements starts in the upper half of a 4-byte word.
template <class T>
__device__ int half_word(const Matrix<T>& matrix, int row) {
  return static_cast<int>(
      (reinterpret_cast<uintptr_t>(matrix.data) / 2 + static_cast<uintptr_t>(row) * matrix.columns) % 2);
}

// Rows of 2-byte elements that are not multiples of 4 bytes, as the words that hold them: element c of row r is element
// c + half_word(row0 + r) of the tile's row, which holds one word more than kColumns need. What a row's first word
// holds before the row is anything (of the matrix or of what the same allocation holds before it); past the end of the
// row are zeros. column0 is even.
template <int kRows, int kColumns, int kPitch, class T>
__device__ void load_words(T* tile, const Matrix<T>& matrix, int row0, int column0) {
  constexpr int kWords = kColumns / 2 + 1;
  static_assert(kWords * 2 <= kPitch);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kWords; i += kThreads) {
    const int row = i / kWords;
    const int word = i % kWords;
    const int shift = half_word(matrix, row0 + row);
    const int columns = min(matrix.columns - column0, kColumns);
    const int left = row0 + row < matrix.rows ? min(max(columns + shift - 2 * word, 0), 2) : 0;
    const int64_t element = static_cast<int64_t>(row0 + row) * matrix.columns + column0 + 2 * word - shift;
    // The address has to be a multiple of 4 even if there is nothing to copy
    const T* from = matrix.data + (left > 0 ? element : -half_word(matrix, 0));
    copy_async<4>(tile + row * kPitch + 2 * word, from, 2 * left);
  }
}

} // namespace prunesweep::cuda
