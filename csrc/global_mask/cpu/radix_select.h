// A radix select: each pass counts one digit of the keys that share the digits of the threshold found so far.

#pragma once

#include "global_mask/cpu/pieces.h"

#include <algorithm>
#include <array>

namespace prunesweep {

template <typename K>
class RadixSelect {
 public:
  RadixSelect(int64_t parts, int64_t keep) : histograms_(parts), left_(keep) {}

  // Ends the pass over the last digit, if there was one. True: another pass is needed.
  bool next_digit() {
    if (width_ > 0) {
      int64_t digit = int64_t{1} << width_;
      int64_t here = 0;
      do {
        left_ -= here;
        --digit;
        here = 0;
        for (const auto& histogram : histograms_) {
          here += histogram[digit];
        }
      } while (here < left_);
      prefix_ |= static_cast<U>(digit) << shift();
      done_ += width_;
    }
    width_ = std::min(kDigitBits, kBits - done_);
    for (auto& histogram : histograms_) {
      histogram.fill(0);
    }
    return width_ > 0;
  }

  // Different parts may be counted at the same time.
  template <typename scalar_t>
  void count(int64_t part, const Pieces<scalar_t>& pieces, int64_t first, int64_t last) {
    auto& histogram = histograms_[part];
    const U known = done_ == 0 ? U{0} : ~U{0} << (kBits - done_);
    const U mask = (U{1} << width_) - 1;
    for_each_key(pieces, first, last, [&](size_t, K key) {
      const U bits = static_cast<U>(key) ^ kSign;
      if ((bits & known) == prefix_) {
        ++histogram[bits >> shift() & mask];
      }
    });
  }

  // After the last pass: the key of which fewer than keep are above.
  K threshold() const {
    return static_cast<K>(prefix_ ^ kSign);
  }

 private:
  using U = std::make_unsigned_t<K>;
  static constexpr int kDigitBits = 11;
  static constexpr int kBits = sizeof(K) * 8;
  static constexpr U kSign = U{1} << (kBits - 1);

  int shift() const {
    return kBits - done_ - width_;
  }

  std::vector<std::array<int64_t, size_t{1} << kDigitBits>> histograms_;
  int64_t left_; // still to be kept among the keys that start with the prefix
  U prefix_ = 0; // keys without sign
  int done_ = 0; // digits found, in bits
  int width_ = 0; // of the digit being counted, in bits
};

} // namespace prunesweep
