// A radix select by ranges: each step counts the keys of a range by their leading digit and continues in the digit's
// range.

#pragma once

#include <cstdint>
#include <type_traits>

namespace prunesweep::cuda {

constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;

// Steps that a range of any keys can take.
template <typename K>
constexpr int kSteps = (sizeof(K) * 8 + kDigitBits - 1) / kDigitBits;

// Keys from low to high, and which of them is searched.
template <typename K>
struct Range {
  using U = std::make_unsigned_t<K>;

  K low, high;
  int bits; // key - low < 2^bits; 0: one key is left
  unsigned long long rank; // of the searched key among those of the range, 0 = the highest
  unsigned long long size; // keys in the range

  __device__ bool contains(K key) const {
    return static_cast<U>(key) - static_cast<U>(low) <= static_cast<U>(high) - static_cast<U>(low);
  }
  __device__ int shift() const {
    return bits > kDigitBits ? bits - kDigitBits : 0;
  }
  __device__ int digit(K key) const {
    return static_cast<int>((static_cast<U>(key) - static_cast<U>(low)) >> shift());
  }
  // The keys of one digit, of which there are `here`; `above` have a higher one.
  __device__ Range narrowed(int digit, unsigned long long above, unsigned long long here) const {
    const U span = static_cast<U>(high) - static_cast<U>(low);
    const U from = static_cast<U>(digit) << shift();
    const U to = from + ((U{1} << shift()) - 1);
    return {
        static_cast<K>(static_cast<U>(low) + from), static_cast<K>(static_cast<U>(low) + (to < span ? to : span)),
        shift(), rank - above, here};
  }
};

template <typename K>
__device__ Range<K> range_of(K low, K high, unsigned long long rank, unsigned long long size) {
  using U = std::make_unsigned_t<K>;
  const U span = static_cast<U>(high) - static_cast<U>(low);
  return {low, high, 64 - __clzll(static_cast<long long>(span)), rank, size};
}

// The sum of `value` over the threads before this one. All threads of the block have to call it.
template <int kThreads>
__device__ unsigned long long sum_before(unsigned long long value) {
  __shared__ unsigned long long sums[kThreads / 32];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  unsigned long long sum = value;
  for (int distance = 1; distance < 32; distance *= 2) {
    const auto other = __shfl_up_sync(0xffffffff, sum, distance);
    sum += lane >= distance ? other : 0;
  }
  if (lane == 31) {
    sums[warp] = sum;
  }
  __syncthreads();
  sum -= value;
  for (int before = 0; before < warp; ++before) {
    sum += sums[before];
  }
  __syncthreads(); // sums may be written again
  return sum;
}

// Writes the range of the next step to `to`, by one thread of the block, all of which have to call it. bins[d]: keys of
// the range with digit d.
template <int kThreads, typename K, typename Bin>
__device__ void narrow(const Range<K>& range, const Bin* bins, Range<K>* to) {
  constexpr int kOwn = kDigits / kThreads;
  int digit = kDigits - 1 - static_cast<int>(threadIdx.x) * kOwn; // from the highest down
  unsigned long long own = 0;
  for (int i = 0; i < kOwn; ++i) {
    own += bins[digit - i];
  }
  unsigned long long above = sum_before<kThreads>(own);
  if (above <= range.rank && range.rank - above < own) {
    while (range.rank - above >= bins[digit]) {
      above += bins[digit--];
    }
    *to = range.narrowed(digit, above, bins[digit]);
  }
}

} // namespace prunesweep::cuda
