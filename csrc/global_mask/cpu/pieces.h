// What the global top-k works on: a list of tensors seen as one sequence of ordered integer keys.

#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/bit_cast.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace prunesweep {

template <typename scalar_t>
using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
template <typename scalar_t>
using Key = std::conditional_t<std::is_same_v<scalar_t, double>, int64_t, int32_t>;

// Stands for an element that is not selected from: below the key of every value.
template <typename K>
constexpr K kOutside = std::numeric_limits<K>::min();

// The key of +infinity; that of -infinity is its negative, and anything beyond the two is NaN.
template <typename K>
constexpr K kInfinity = sizeof(K) == 8 ? static_cast<K>(0x7ff0000000000000) : static_cast<K>(0x7f800000);

// Sign and magnitude become two's complement: the order of the keys is that of the values, and both zeros have key 0.
// Integers, because comparing floating-point numbers takes denormals for zeros where these are flushed.
template <typename scalar_t>
inline __attribute__((always_inline)) Key<scalar_t> to_key(scalar_t value) {
  using K = Key<scalar_t>;
  const K bits = c10::bit_cast<K>(static_cast<Wide<scalar_t>>(value));
  const K sign = bits >> (sizeof(K) * 8 - 1);
  return ((bits & std::numeric_limits<K>::max()) ^ sign) - sign;
}

template <typename scalar_t>
double from_key(Key<scalar_t> key) {
  const double magnitude = c10::bit_cast<Wide<scalar_t>>(key < 0 ? -key : key);
  return key < 0 ? -magnitude : magnitude;
}

// One contiguous tensor of the list.
template <typename scalar_t>
struct Piece {
  const scalar_t* score;
  const scalar_t* weight; // null without weights
  const bool* inside; // null without within
  bool* mask;
  int64_t begin; // position of the first element in the sequence
  int64_t size;
};

template <typename scalar_t>
using Pieces = std::vector<Piece<scalar_t>>;

// body(index of the piece, key) for each element of [first, last) that is selected from, one by one, so slowly.
template <typename scalar_t, typename Body>
void for_each_key(const Pieces<scalar_t>& pieces, int64_t first, int64_t last, const Body& body) {
  for (size_t p = 0; p < pieces.size(); ++p) {
    const auto piece = pieces[p];
    const int64_t end = std::min(last - piece.begin, piece.size);
    for (int64_t i = std::max<int64_t>(first - piece.begin, 0); i < end; ++i) {
      if (piece.inside == nullptr || piece.inside[i]) {
        const auto score = piece.score[i];
        body(p, to_key(piece.weight != nullptr ? static_cast<scalar_t>(score * piece.weight[i]) : score));
      }
    }
  }
}

} // namespace prunesweep
