// A radix select: floating-point values become unsigned integers of the same order, and each pass counts one digit of
// the keys that share the digits of the threshold found so far.

#pragma once

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <c10/util/bit_cast.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <type_traits>
#include <utility>
#include <vector>

namespace prunesweep {

constexpr int kDigitBits = 11;
constexpr int64_t kMinPartSize = 1 << 15; // below this a thread costs more than it saves

using Histogram = std::array<int64_t, size_t{1} << kDigitBits>;

template <typename scalar_t>
using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
template <typename scalar_t>
using Key = std::conditional_t<std::is_same_v<scalar_t, double>, uint64_t, uint32_t>;

// Unsigned order of the keys = order of the values; +0 and -0 share a key. NaN must not come here.
template <typename scalar_t>
Key<scalar_t> to_key(scalar_t value) {
  using K = Key<scalar_t>;
  constexpr K sign = K{1} << (sizeof(K) * 8 - 1);
  auto bits = c10::bit_cast<K>(static_cast<Wide<scalar_t>>(value));
  bits = bits == sign ? K{0} : bits;
  return bits & sign ? ~bits : bits | sign;
}

template <typename scalar_t>
double from_key(Key<scalar_t> key) {
  using K = Key<scalar_t>;
  constexpr K sign = K{1} << (sizeof(K) * 8 - 1);
  return c10::bit_cast<Wide<scalar_t>>(key & sign ? static_cast<K>(key & ~sign) : static_cast<K>(~key));
}

template <typename scalar_t>
struct Piece {
  const scalar_t* score;
  const scalar_t* weight; // null without weights
  const bool* inside; // null without within
  bool* mask;
  int64_t begin; // position of the first element in the concatenation of all tensors
  int64_t size;

  scalar_t value(int64_t i) const {
    return weight ? static_cast<scalar_t>(score[i] * weight[i]) : score[i];
  }
};

// The concatenation of all tensors, cut into one part per thread: the same parts in every pass.
template <typename scalar_t>
class Selection {
 public:
  explicit Selection(std::vector<Piece<scalar_t>> pieces) : pieces_(std::move(pieces)) {
    total_ = pieces_.back().begin + pieces_.back().size;
    parts_ = std::clamp<int64_t>(total_ / kMinPartSize, 1, at::get_num_threads());
    histograms_.resize(parts_);
  }

  // Raises if a value selected from is NaN; returns how many values there are to select from.
  int64_t check_and_count(const char* what) const {
    std::vector<int64_t> inside(parts_), nans(parts_);
    for_each_part([&](int64_t part) {
      int64_t values = 0;
      int64_t part_nans = 0;
      for_each_value(part, [&](size_t, int64_t, scalar_t value) {
        ++values;
        part_nans += is_nan(value);
      });
      inside[part] = values;
      nans[part] = part_nans;
    });
    if (std::accumulate(nans.begin(), nans.end(), int64_t{0}) > 0) {
      raise_for_nan(what);
    }
    return std::accumulate(inside.begin(), inside.end(), int64_t{0});
  }

  // keep >= 1. Returns the threshold and the number of values equal to it, and writes the masks.
  std::pair<double, int64_t> select(int64_t keep) {
    using K = Key<scalar_t>;
    constexpr int bits = sizeof(K) * 8;
    K threshold = 0;
    int64_t above = 0; // values already known to be greater than the threshold
    int64_t digit_ties = 0;
    std::vector<int64_t> ties_before(parts_); // in the parts before this one
    for (int done = 0; done < bits; done += kDigitBits) {
      const int width = std::min(kDigitBits, bits - done);
      const int shift = bits - done - width;
      count_digits(done, threshold, shift, width);
      int64_t digit = (int64_t{1} << width) - 1;
      for (; above + count_of(digit) < keep; --digit) {
        above += count_of(digit);
      }
      threshold |= static_cast<K>(digit) << shift;
      digit_ties = 0;
      for (int64_t part = 0; part < parts_; ++part) {
        ties_before[part] = digit_ties;
        digit_ties += histograms_[part][digit];
      }
    }
    write_masks(threshold, keep - above, ties_before);
    return {from_key<scalar_t>(threshold), digit_ties};
  }

 private:
  template <typename Body>
  void for_each_part(const Body& body) const {
    at::parallel_for(0, parts_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        body(part);
      }
    });
  }

  // body(piece, index in the piece, value) for every element to select from, in order
  template <typename Body>
  void for_each_value(int64_t part, const Body& body) const {
    const int64_t first = total_ * part / parts_;
    const int64_t last = total_ * (part + 1) / parts_;
    for (size_t p = 0; p < pieces_.size(); ++p) {
      const auto piece = pieces_[p];
      const int64_t begin = std::max<int64_t>(first - piece.begin, 0);
      const int64_t end = std::min<int64_t>(last - piece.begin, piece.size);
      for (int64_t i = begin; i < end; ++i) {
        if (!piece.inside || piece.inside[i]) {
          body(p, i, piece.value(i));
        }
      }
    }
  }

  static bool is_nan(scalar_t value) {
    return std::isnan(static_cast<Wide<scalar_t>>(value));
  }

  void raise_for_nan(const char* what) const {
    std::vector<int64_t> nans(pieces_.size());
    for (int64_t part = 0; part < parts_; ++part) {
      for_each_value(part, [&](size_t piece, int64_t, scalar_t value) { nans[piece] += is_nan(value); });
    }
    const auto first = std::find_if(nans.begin(), nans.end(), [](int64_t n) { return n > 0; });
    TORCH_CHECK_VALUE(
        false, "global_mask: tensor ", first - nans.begin(), " of ", what, " holds ", *first,
        " NaN; only values that can be ordered are accepted");
  }

  // Counts one digit of the keys whose first `done` bits are those of `prefix`.
  void count_digits(int done, Key<scalar_t> prefix, int shift, int width) {
    using K = Key<scalar_t>;
    const K known = done == 0 ? K{0} : ~K{0} << (sizeof(K) * 8 - done);
    const K digit = (K{1} << width) - 1;
    for_each_part([&](int64_t part) {
      auto& histogram = histograms_[part];
      histogram.fill(0);
      for_each_value(part, [&](size_t, int64_t, scalar_t value) {
        const K key = to_key(value);
        if ((key & known) == prefix) {
          ++histogram[(key >> shift) & digit];
        }
      });
    });
  }

  int64_t count_of(int64_t digit) const {
    int64_t count = 0;
    for (const auto& histogram : histograms_) {
      count += histogram[digit];
    }
    return count;
  }

  // Keeps everything above the threshold, and the first `keep_ties` of those equal to it. Masks start as zeros.
  void write_masks(Key<scalar_t> threshold, int64_t keep_ties, const std::vector<int64_t>& ties_before) const {
    for_each_part([&](int64_t part) {
      int64_t ties = ties_before[part];
      for_each_value(part, [&](size_t piece, int64_t i, scalar_t value) {
        const auto key = to_key(value);
        pieces_[piece].mask[i] = key > threshold || (key == threshold && ties++ < keep_ties);
      });
    });
  }

  std::vector<Piece<scalar_t>> pieces_;
  int64_t total_;
  int64_t parts_;
  std::vector<Histogram> histograms_;
};

} // namespace prunesweep
