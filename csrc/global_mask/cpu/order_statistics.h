// Order statistics of an array of keys, for the sample and the candidates of the global top-k.

#pragma once

#include "global_mask/cpu/scan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <utility>
#include <vector>

namespace prunesweep {

// The part of an array that holds some of its largest keys, by rank (0 = the largest).
//
// A histogram of the range that the keys span leads to the few that share a rank's bucket. Ties may all share one: that
// is only slower.
template <typename K>
class Window {
 public:
  // `above`: how many keys of the array are greater than all of `keys`, which are in any order and at least one.
  Window(std::vector<K> keys, int64_t above) : keys_(std::move(keys)), above_(above), counts_(kBuckets) {
    K high = low_ = keys_.front();
    for (const K key : keys_) { // what std::minmax_element does is not vectorised
      low_ = std::min(low_, key);
      high = std::max(high, key);
    }
    const U span = static_cast<U>(high) - static_cast<U>(low_);
    while (span >> shift_ >= kBuckets) {
      ++shift_;
    }
    for (const K key : keys_) {
      ++counts_[bucket(key)];
    }
  }

  // The key of this rank in the whole array, which has to be in the window.
  K at(int64_t rank) const {
    int64_t left = rank - above_;
    size_t wanted = kBuckets - 1;
    while (left >= counts_[wanted]) {
      left -= counts_[wanted--];
    }
    std::vector<K> here;
    here.reserve(counts_[wanted]);
    std::copy_if(keys_.begin(), keys_.end(), std::back_inserter(here), [&](K key) { return bucket(key) == wanted; });
    std::nth_element(here.begin(), here.begin() + left, here.end(), std::greater<K>());
    return here[left];
  }

 private:
  using U = std::make_unsigned_t<K>;
  static constexpr size_t kBuckets = 1024;

  size_t bucket(K key) const {
    return (static_cast<U>(key) - static_cast<U>(low_)) >> shift_;
  }

  std::vector<K> keys_;
  int64_t above_;
  K low_;
  int shift_ = 0;
  std::vector<int64_t> counts_;
};

// A window of `keys` around the ranks [first, last]: small if keys differ, and all of them if that fails.
// A few hundred evenly spaced keys show which to leave out.
template <typename scalar_t, typename K = Key<scalar_t>>
Window<K> window(const Scans<scalar_t>& scans, const std::vector<K>& keys, int64_t first, int64_t last) {
  constexpr int64_t kGuides = 512;
  const auto size = static_cast<int64_t>(keys.size());
  if (size > 8 * kGuides) {
    std::vector<K> guides(kGuides);
    for (int64_t i = 0; i < kGuides; ++i) {
      guides[i] = keys[i * size / kGuides];
    }
    std::sort(guides.begin(), guides.end(), std::greater<K>());
    const auto guide = [&](int64_t rank, int side) {
      const double share = static_cast<double>(rank) / size;
      const double margin = 4 * std::sqrt(kGuides * share * (1 - share)) + 3;
      return static_cast<int64_t>(std::floor(share * kGuides + side * margin));
    };
    const int64_t from = guide(first, -1);
    const int64_t to = guide(last, 1);
    const K high = from < 0 ? std::numeric_limits<K>::max() : std::max(guides[from], kOutside<K> + 1);
    const K low = to >= kGuides ? kOutside<K> + 1 : std::max(guides[to], kOutside<K> + 1);
    std::vector<K> sifted(size / 4);
    int64_t above = 0;
    const int64_t found = scans.sift(keys.data(), size, low, high, sifted.data(), size / 4, &above);
    const bool inside = above <= first && last < above + found;
    if (inside && found <= size / 4) {
      sifted.resize(found);
      return {std::move(sifted), above};
    }
    if (inside && low == high) { // ties, all of them one key
      return {std::vector<K>(found, low), above};
    }
  }
  return {keys, 0};
}

} // namespace prunesweep
