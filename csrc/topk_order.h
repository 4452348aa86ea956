// Order statistics of an array of keys, for the sample and the candidates of the global top-k.

#pragma once

#include "topk_scan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

namespace prunesweep {

// The part of an array that holds some of its largest keys, by rank (0 = the largest).
template <typename K>
struct Window {
  std::vector<K> keys; // in any order
  int64_t above = 0; // keys of the array that are greater than all of these

  // The key of this rank in the whole array, which has to lie in the window.
  K at(int64_t rank) {
    const auto place = keys.begin() + (rank - above);
    std::nth_element(keys.begin(), place, keys.end(), std::greater<K>());
    return *place;
  }
};

// A window of `keys` around the ranks [first, last]: small if keys differ, and all of them where that does not work out.
// A few hundred keys taken at even distances say which to leave out.
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
    Window<K> result;
    result.keys.resize(size / 4);
    const int64_t found = scans.sift(keys.data(), size, low, high, result.keys.data(), size / 4, &result.above);
    const bool inside = result.above <= first && last < result.above + found;
    if (inside && found <= size / 4) {
      result.keys.resize(found);
      return result;
    }
    if (inside && low == high) { // ties, all of them one key
      result.keys.assign(found, low);
      return result;
    }
  }
  return {keys, 0};
}

} // namespace prunesweep
