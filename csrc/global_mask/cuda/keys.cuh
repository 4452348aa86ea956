// Scores as ordered integer keys, and how a block reads a chunk of them.

#pragma once

#include "common/cuda/runtime.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <limits>
#include <type_traits>

namespace prunesweep::cuda {

// Pieces are cut into chunks, which the kernels share out. A chunk is read by kChunkThreads threads, kItems elements
// each.
constexpr int kChunkThreads = 256;
constexpr int kItems = 16;
constexpr int kChunk = kChunkThreads * kItems;

// Where a word of flags has that of item i: shifted by g, it has items 4 g to 4 g + 3 in the lowest bits of its bytes,
// as masks need them.
__host__ __device__ constexpr int bit_of(int i) {
  return i % 4 * 8 + i / 4;
}
constexpr uint32_t kFirstBits = 0x01010101;
constexpr uint32_t kAllItems = 0x0f0f0f0f;

// A piece that is not empty, as the kernels see it.
struct DevicePiece {
  const void* scores;
  const void* weights;
  const uint8_t* within;
  uint8_t* mask;
  int64_t size;
  int64_t begin; // elements in the pieces before it
  int64_t first_chunk; // chunks of the pieces before it
  int64_t index; // in the caller's list
};

// Bits: of an element. Wide: of the same value in float or double, which keys are made of. The products are PyTorch's:
// of float for the 16-bit dtypes, then rounded to nearest even.
template <Dtype kDtype>
struct Scalar;

template <>
struct Scalar<Dtype::kFloat> {
  using Bits = uint32_t;
  using Key = int32_t;
  static __device__ uint32_t widen(Bits bits) {
    return bits;
  }
  static __device__ Bits product(Bits a, Bits b) {
    return __float_as_uint(__fmul_rn(__uint_as_float(a), __uint_as_float(b)));
  }
};

template <>
struct Scalar<Dtype::kDouble> {
  using Bits = unsigned long long;
  using Key = long long;
  static __device__ Bits widen(Bits bits) {
    return bits;
  }
  static __device__ Bits product(Bits a, Bits b) {
    return __double_as_longlong(__dmul_rn(__longlong_as_double(a), __longlong_as_double(b)));
  }
};

template <>
struct Scalar<Dtype::kBFloat16> {
  using Bits = uint16_t;
  using Key = int32_t;
  static __device__ uint32_t widen(Bits bits) {
    return uint32_t{bits} << 16;
  }
  static __device__ Bits product(Bits a, Bits b) {
    const float exact = __fmul_rn(__uint_as_float(widen(a)), __uint_as_float(widen(b)));
    return __bfloat16_as_ushort(__float2bfloat16_rn(exact));
  }
};

template <>
struct Scalar<Dtype::kHalf> {
  using Bits = uint16_t;
  using Key = int32_t;
  static __device__ uint32_t widen(Bits bits) {
    return __float_as_uint(__half2float(__ushort_as_half(bits)));
  }
  static __device__ Bits product(Bits a, Bits b) {
    return __half_as_ushort(
        __float2half_rn(__fmul_rn(__half2float(__ushort_as_half(a)), __half2float(__ushort_as_half(b)))));
  }
};

// The key of +infinity; that of -infinity is its negative, and anything beyond the two is NaN or kOutside.
template <typename K>
constexpr K kInfinity = sizeof(K) == 8 ? static_cast<K>(0x7ff0000000000000) : static_cast<K>(0x7f800000);

// Stands for an element that is not selected from.
template <typename K>
constexpr K kOutside = std::numeric_limits<K>::min();

template <typename K>
constexpr K kLargest = std::numeric_limits<K>::max();

// Sign and magnitude become two's complement: the order of the keys is that of the values, and both zeros have key 0.
template <typename K>
__device__ K to_key(std::make_unsigned_t<K> wide) {
  const K bits = static_cast<K>(wide);
  const K sign = bits >> (sizeof(K) * 8 - 1);
  const K magnitude = bits & kLargest<K>;
  return (magnitude ^ sign) - sign;
}

__device__ inline double from_key(int32_t key) {
  const double magnitude = __uint_as_float(key < 0 ? -key : key);
  return key < 0 ? -magnitude : magnitude;
}

__device__ inline double from_key(long long key) {
  const double magnitude = __longlong_as_double(key < 0 ? -key : key);
  return key < 0 ? -magnitude : magnitude;
}

// From 0 for -infinity to kLastOrder for infinity; greater for NaN and kOutside.
template <typename K, typename U = std::make_unsigned_t<K>>
__device__ U order_of(K key) {
  return static_cast<U>(key) + static_cast<U>(kInfinity<K>);
}

template <typename K>
constexpr std::make_unsigned_t<K> kLastOrder = 2 * static_cast<std::make_unsigned_t<K>>(kInfinity<K>);

template <typename K>
__device__ bool is_value(K key) {
  return order_of(key) <= kLastOrder<K>;
}

template <int kBytes>
struct VectorOf;
template <>
struct VectorOf<2> {
  using Type = uint16_t;
};
template <>
struct VectorOf<4> {
  using Type = uint32_t;
};
template <>
struct VectorOf<8> {
  using Type = uint2;
};
template <>
struct VectorOf<16> {
  using Type = uint4;
};
template <int kBytes>
using Vector = typename VectorOf<kBytes>::Type;

template <typename V>
__device__ bool is_aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % sizeof(V) == 0;
}

// Where item i of a thread is in its chunk: a thread has kWidth neighbours, then as many of the next stripe.
template <int kWidth>
__device__ int offset_of(int thread, int i) {
  return (i / kWidth * kChunkThreads + thread) * kWidth + i % kWidth;
}

// A thread's items of a chunk that has `count` elements; 0 for items beyond the end.
template <int kWidth, typename Item>
__device__ __forceinline__ void load_items(const Item* chunk, int count, int thread, Item (&items)[kItems]) {
  using V = Vector<kWidth * sizeof(Item)>;
  if (count == kChunk && is_aligned<V>(chunk)) {
#pragma unroll
    for (int j = 0; j < kItems / kWidth; ++j) {
      const V vector = __ldcs(reinterpret_cast<const V*>(chunk) + j * kChunkThreads + thread);
      memcpy(items + j * kWidth, &vector, sizeof(V));
    }
  } else {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int offset = offset_of<kWidth>(thread, i);
      items[i] = offset < count ? chunk[offset] : Item{0};
    }
  }
}

// Elements of one 16-byte load.
template <typename S>
constexpr int kWidth = 16 / sizeof(typename S::Bits);

// Fills `keys`. Flags of the result: which items are selected from.
template <typename S>
__device__ __forceinline__ uint32_t
load_keys(const DevicePiece& piece, int64_t begin, int count, int thread, typename S::Key (&keys)[kItems]) {
  using Bits = typename S::Bits;
  Bits items[kItems];
  load_items<kWidth<S>>(static_cast<const Bits*>(piece.scores) + begin, count, thread, items);
  if (piece.weights != nullptr) {
    Bits weights[kItems];
    load_items<kWidth<S>>(static_cast<const Bits*>(piece.weights) + begin, count, thread, weights);
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      items[i] = S::product(items[i], weights[i]);
    }
  }
  uint32_t inside = kAllItems;
  if (piece.within != nullptr) {
    uint8_t within[kItems];
    load_items<kWidth<S>>(piece.within + begin, count, thread, within);
    inside = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      inside |= static_cast<uint32_t>(within[i] != 0) << bit_of(i);
    }
  } else if (count < kChunk) {
    inside = 0;
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      inside |= static_cast<uint32_t>(offset_of<kWidth<S>>(thread, i) < count) << bit_of(i);
    }
  }
#pragma unroll
  for (int i = 0; i < kItems; ++i) {
    keys[i] = to_key<typename S::Key>(S::widen(items[i]));
  }
  return inside;
}

// The key of one element, kOutside if it is not selected from.
template <typename S>
__device__ typename S::Key key_at(const DevicePiece& piece, int64_t i) {
  using Bits = typename S::Bits;
  if (piece.within != nullptr && piece.within[i] == 0) {
    return kOutside<typename S::Key>;
  }
  Bits bits = static_cast<const Bits*>(piece.scores)[i];
  if (piece.weights != nullptr) {
    bits = S::product(bits, static_cast<const Bits*>(piece.weights)[i]);
  }
  return to_key<typename S::Key>(S::widen(bits));
}

} // namespace prunesweep::cuda
