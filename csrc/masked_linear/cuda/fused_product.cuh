// What one warp does in the fused kernels: c [16 kTiles, 32] += a [16 kTiles, depth] b [depth, 32] from tiles in shared
// memory, with zeros in b where its mask is false. The sums stay in registers.

#pragma once

#include "masked_linear/cuda/fused_ptx.cuh"
#include "masked_linear/cuda/fused_tile.cuh"

namespace prunesweep::cuda {

struct Ieee { // float32 on the CUDA cores
  using T = float;
  static constexpr int kStep = 4; // depth of one step
};

struct Tf32 { // float32 rounded to TF32, on the tensor cores
  using T = float;
  static constexpr int kStep = 8;
};

template <class Number>
struct Short { // bfloat16 or float16, on the tensor cores
  using T = Number;
  static constexpr int kStep = 16;
};

// Which index of an operand has a stride of 1 in its tile.
enum class Along { kDepth, kSide };

enum class Masked { kNo, kYes };

// A warp's part of a tile. Element (side, depth) is data[side * pitch + depth] along kDepth, else data[depth * pitch +
// side].
template <class T>
struct Operand {
  const T* data;
  int pitch;
  int shift = 0; // along kDepth, 2-byte elements: 1 if this lane's rows are one element further on (load_words)
  bool words = false; // whether shift may be 1 for some lane
};

// The mask of b, laid out as b is: along kDepth bit `depth` of row `side`, else bit `side` of row `depth`.
struct Bits {
  const uint32_t* data;
  int pitch;
};

__device__ inline uint32_t sign(uint32_t word) {
  return static_cast<uint32_t>(static_cast<int32_t>(word) >> 31);
}

template <class Math, int kTiles, Along kA, Along kB, Masked kMasked>
class Product {
 public:
  using T = typename Math::T;

  // Adds the products of one step, which starts at depth k, a multiple of kStep.
  __device__ void step(const Operand<T>& a, const Operand<T>& b, const Bits& bits, int k) {
    uint32_t right[4][2];
    if constexpr (sizeof(T) == 4) {
      read_words(right, b, bits, k);
    } else {
      read_pairs(right, b, bits, k);
    }
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      uint32_t left[4];
      if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          left[i] = to_tf32(at<kA>(a, 16 * tile + group() + i % 2 * 8, k + place() + i / 2 * 4));
        }
      } else if constexpr (kA == Along::kDepth) {
        if (a.words) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const T* pair = a.data + (16 * tile + group() + i % 2 * 8) * a.pitch + k + 2 * place() + i / 2 * 8;
            const auto* word = reinterpret_cast<const uint32_t*>(pair);
            left[i] = __funnelshift_r(word[0], word[1], 16 * a.shift);
          }
        } else {
          load_matrices<false>(left, a.data + (16 * tile + matrix() % 2 * 8 + row()) * a.pitch + k + matrix() / 2 * 8);
        }
      } else {
        load_matrices<true>(left, a.data + (k + matrix() / 2 * 8 + row()) * a.pitch + 16 * tile + matrix() % 2 * 8);
      }
#pragma unroll
      for (int column = 0; column < 4; ++column) {
        if constexpr (sizeof(T) == 4) {
          mma_tf32(sums_[tile][column], left, right[column]);
        } else {
          mma_16bit(sums_[tile][column], left, right[column], T());
        }
      }
    }
  }

  // visit(row, column, sum) for the sums that this lane holds
  template <class Visit>
  __device__ void each(Visit visit) const {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int column = 0; column < 4; ++column) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          visit(16 * tile + group() + i / 2 * 8, 8 * column + 2 * place() + i % 2, sums_[tile][column][i]);
        }
      }
    }
  }

 private:
  static __device__ int lane() {
    return static_cast<int>(threadIdx.x) % 32;
  }
  static __device__ int group() {
    return lane() / 4;
  }
  static __device__ int place() {
    return lane() % 4;
  }
  // What this lane gives load_matrices the address of
  static __device__ int matrix() {
    return lane() / 8;
  }
  static __device__ int row() {
    return lane() % 8;
  }

  static __device__ void read_words(uint32_t (&right)[4][2], const Operand<T>& b, const Bits& bits, int k) {
#pragma unroll
    for (int tile = 0; tile < 4; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int side = 8 * tile + group();
        const int depth = k + place() + 4 * i;
        const uint32_t value = __float_as_uint(at<kB>(b, side, depth));
        right[tile][i] = to_tf32(__uint_as_float(value & keep(bits, side, depth)));
      }
    }
  }

  static __device__ void read_pairs(uint32_t (&right)[4][2], const Operand<T>& b, const Bits& bits, int k) {
#pragma unroll
    for (int tile = 0; tile < 4; tile += 2) {
      uint32_t loaded[4];
      const int side = 8 * tile + matrix() / 2 * 8;
      if constexpr (kB == Along::kDepth) {
        load_matrices<false>(loaded, b.data + (side + row()) * b.pitch + k + matrix() % 2 * 8);
      } else {
        load_matrices<true>(loaded, b.data + (k + matrix() % 2 * 8 + row()) * b.pitch + side);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        right[tile + i / 2][i % 2] =
            loaded[i] & keep_pair(bits, 8 * (tile + i / 2) + group(), k + 2 * place() + i % 2 * 8);
      }
    }
  }

  template <Along kAlong>
  static __device__ T at(const Operand<T>& operand, int side, int depth) {
    return operand.data[kAlong == Along::kDepth ? side * operand.pitch + depth : depth * operand.pitch + side];
  }

  // All ones where the mask is true.
  static __device__ uint32_t keep(const Bits& bits, int side, int depth) {
    if constexpr (kMasked == Masked::kNo) {
      return ~0u;
    } else if constexpr (kB == Along::kDepth) {
      return sign(bits.data[side * bits.pitch + depth / 32] << (31 - depth % 32));
    } else {
      return sign(bits.data[depth * bits.pitch] << (31 - side));
    }
  }

  // The same for the elements (side, depth) and (side, depth + 1), in the lower and the upper half; depth is even.
  static __device__ uint32_t keep_pair(const Bits& bits, int side, int depth) {
    if constexpr (kMasked == Masked::kNo) {
      return ~0u;
    } else if constexpr (kB == Along::kDepth) {
      const uint32_t word = bits.data[side * bits.pitch + depth / 32];
      return spread_signs(word << (31 - depth % 32), word << (30 - depth % 32));
    } else {
      return spread_signs(
          bits.data[depth * bits.pitch] << (31 - side), bits.data[(depth + 1) * bits.pitch] << (31 - side));
    }
  }

  float sums_[kTiles][4][4] = {};
};

// float32 on the CUDA cores: a lane has 2 kTiles rows and 8 columns, and reads 16 bytes at a time. Every element of b
// is read by 8 lanes, so its mask is applied in shared memory (mask_tile) before, not here.
template <int kTiles, Along kA, Along kB>
class Product<Ieee, kTiles, kA, kB, Masked::kNo> {
 public:
  __device__ void step(const Operand<float>& a, const Operand<float>& b, const Bits&, int k) {
    float left[kRows][4];
    float right[8][4];
    read<kA, kRows, 8>(left, a, k, lane() % 8);
    read<kB, 8, 4>(right, b, k, lane() / 8);
#pragma unroll
    for (int depth = 0; depth < 4; ++depth) {
#pragma unroll
      for (int row = 0; row < kRows; ++row) {
#pragma unroll
        for (int column = 0; column < 8; ++column) {
          sums_[row][column] = fmaf(left[row][depth], right[column][depth], sums_[row][column]);
        }
      }
    }
  }

  template <class Visit>
  __device__ void each(Visit visit) const {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
#pragma unroll
      for (int column = 0; column < 8; ++column) {
        visit(side<kA, 8>(lane() % 8, row), side<kB, 4>(lane() / 8, column), sums_[row][column]);
      }
    }
  }

 private:
  static constexpr int kRows = 2 * kTiles;
  static_assert(kA == Along::kDepth || kRows % 4 == 0);

  static __device__ int lane() {
    return static_cast<int>(threadIdx.x) % 32;
  }

  // The i-th row or column of the lane that is number `mine` of kLanes: lanes side by side read neighbours.
  template <Along kAlong, int kLanes>
  static __device__ int side(int mine, int i) {
    return kAlong == Along::kDepth ? kLanes * i + mine : 4 * kLanes * (i / 4) + 4 * mine + i % 4;
  }

  template <Along kAlong, int kCount, int kLanes>
  static __device__ void read(float (&out)[kCount][4], const Operand<float>& operand, int k, int mine) {
    if constexpr (kAlong == Along::kDepth) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const auto four =
            *reinterpret_cast<const float4*>(operand.data + side<kAlong, kLanes>(mine, i) * operand.pitch + k);
        out[i][0] = four.x;
        out[i][1] = four.y;
        out[i][2] = four.z;
        out[i][3] = four.w;
      }
    } else {
#pragma unroll
      for (int depth = 0; depth < 4; ++depth) {
#pragma unroll
        for (int i = 0; i < kCount; i += 4) {
          const auto four = *reinterpret_cast<const float4*>(
              operand.data + (k + depth) * operand.pitch + side<kAlong, kLanes>(mine, i));
          out[i][depth] = four.x;
          out[i + 1][depth] = four.y;
          out[i + 2][depth] = four.z;
          out[i + 3][depth] = four.w;
        }
      }
    }
  }

  float sums_[kRows][8] = {};
};

// Zeros in a tile [kRows, kColumns] of the weight where the mask is false; a row of bits has kColumns / 32 words.
template <int kRows, int kColumns, int kPitch>
__device__ void mask_tile(float* tile, const uint32_t* bits) {
#pragma unroll
  for (int first = 0; first < kRows * kColumns / 4; first += kThreads) {
    const int chunk = first + static_cast<int>(threadIdx.x);
    const int row = chunk / (kColumns / 4);
    const int column = chunk % (kColumns / 4) * 4;
    const uint32_t four = bits[row * (kColumns / 32) + column / 32] >> (column % 32);
    auto* values = reinterpret_cast<uint4*>(tile + row * kPitch + column);
    uint4 value = *values;
    value.x &= sign(four << 31);
    value.y &= sign(four << 30);
    value.z &= sign(four << 29);
    value.w &= sign(four << 28);
    *values = value;
  }
  static_assert(kRows * kColumns / 4 % kThreads == 0);
}

} // namespace prunesweep::cuda
