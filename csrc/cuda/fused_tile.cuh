// Tiles of row-major matrices in shared memory, loaded by the whole block of 256 threads.

#pragma once

#include "fused_launch.cuh"
#include "fused_ptx.cuh"

namespace prunesweep::cuda {

// How the rows of a matrix may be read: by what their addresses are multiples of.
enum class Access { kVector, kWord, kElement }; // 16 bytes, 4 bytes, one element

template <class T>
Access access_to(const T* matrix, int64_t columns) {
  const auto bits = reinterpret_cast<uintptr_t>(matrix) | static_cast<uintptr_t>(columns * static_cast<int64_t>(sizeof(T)));
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
#pragma unroll
  for (int first = 0; first < kRows * kChunks; first += kThreads) {
    const int chunk = first + static_cast<int>(threadIdx.x);
    if (kRows * kChunks % kThreads != 0 && chunk >= kRows * kChunks) {
      break;
    }
    const int row = chunk / kChunks;
    const int column = chunk % kChunks * kCount;
    const int left = row0 + row < matrix.rows ? min(max(matrix.columns - column0 - column, 0), kCount) : 0;
    const T* from = left > 0 ? matrix.data + static_cast<int64_t>(row0 + row) * matrix.columns + column0 + column : matrix.data;
    copy_async<kBytes>(tile + row * kPitch + column, from, left * static_cast<int>(sizeof(T)));
  }
}

// tile[r * kPitch + c] = matrix[row0 + r][column0 + c], zero outside of the matrix. column0 is a multiple of 16 bytes. The copies are
// under way when this returns: commit_copies, wait_copies and a barrier make them visible.
template <int kRows, int kColumns, int kPitch, class T>
__device__ void load_tile(T* tile, const Matrix<T>& matrix, int row0, int column0) {
  static_assert(kColumns * sizeof(T) % 16 == 0 && kPitch * sizeof(T) % 16 == 0);
  if (matrix.access == Access::kVector) {
    copy_tile<16, kRows, kColumns, kPitch>(tile, matrix, row0, column0);
  } else if (sizeof(T) == 4 || matrix.access == Access::kWord) {
    copy_tile<4, kRows, kColumns, kPitch>(tile, matrix, row0, column0);
  } else {
#pragma unroll 8
    for (int i = static_cast<int>(threadIdx.x); i < kRows * kColumns; i += kThreads) {
      const int row = i / kColumns;
      const int column = i % kColumns;
      const bool inside = row0 + row < matrix.rows && column0 + column < matrix.columns;
      tile[row * kPitch + column] =
          inside ? matrix.data[static_cast<int64_t>(row0 + row) * matrix.columns + column0 + column] : T(0.0f);
    }
  }
}

// Whether a row of 2-byte elements starts in the upper half of a 4-byte word.
template <class T>
__device__ int half_word(const Matrix<T>& matrix, int row) {
  return static_cast<int>((reinterpret_cast<uintptr_t>(matrix.data) / 2 + static_cast<uintptr_t>(row) * matrix.columns) % 2);
}

// Rows of 2-byte elements that are no multiples of 4 bytes, as the words that hold them: element c of row r is element
// c + half_word(row0 + r) of the tile's row, which holds one word more than kColumns need. What a row's first word holds before the row
// is anything (of the matrix or of what the same allocation holds before it); past the end of the row are zeros. column0 is even.
template <int kRows, int kColumns, int kPitch, class T>
__device__ void load_words(T* tile, const Matrix<T>& matrix, int row0, int column0) {
  constexpr int kWords = kColumns / 2 + 1;
  static_assert(kWords * 2 <= kPitch);
#pragma unroll
  for (int first = 0; first < kRows * kWords; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    if (i >= kRows * kWords) {
      break;
    }
    const int row = i / kWords;
    const int word = i % kWords;
    const int shift = half_word(matrix, row0 + row);
    const int columns = min(matrix.columns - column0, kColumns);
    const int left = row0 + row < matrix.rows ? min(max(columns + shift - 2 * word, 0), 2) : 0;
    const int64_t element = static_cast<int64_t>(row0 + row) * matrix.columns + column0 + 2 * word - shift;
    // Without anything to copy the address counts still: it has to be a multiple of 4
    const T* from = matrix.data + (left > 0 ? element : -half_word(matrix, 0));
    copy_async<4>(tile + row * kPitch + 2 * word, from, 2 * left);
  }
}

} // namespace prunesweep::cuda
