// The bracket of the threshold of a global top-k, from a sample.

#pragma once

#include "global_mask/cpu/order_statistics.h"

namespace prunesweep {

// Keys between which the threshold is expected.
template <typename K>
struct Bracket {
  K low, high;
  int64_t expected; // keys in [low, high]
  bool ties; // keys equal to one of the ends would fill it
};

// Positions of the sample: one run of kLine elements at random in each of equal slices, so that sorted and periodic
// data are sampled well, too. If there are few elements, all are taken.
struct SampleLines {
  std::vector<int64_t> begins, ends;
  bool complete;

  explicit SampleLines(int64_t total) {
    // candidates are as total / sqrt(lines): this power balances what they and the sample cost
    constexpr int64_t kFewest = 1024, kMost = 65536;
    const int64_t asked =
        std::clamp(static_cast<int64_t>(0.2 * std::pow(static_cast<double>(total), 2.0 / 3)), kFewest, kMost);
    complete = asked * kLine >= total;
    const int64_t lines = complete ? (total + kLine - 1) / kLine : asked;
    begins.resize(lines);
    ends.resize(lines);
    for (int64_t i = 0; i < lines; ++i) {
      if (complete) {
        begins[i] = i * kLine;
        ends[i] = std::min(begins[i] + kLine, total);
        continue;
      }
      const int64_t slice = total / lines + (i < total % lines);
      const int64_t start = total / lines * i + std::min(i, total % lines);
      const auto room = static_cast<uint64_t>(std::max<int64_t>(slice - kLine, 0) + 1);
      begins[i] = start + static_cast<int64_t>(static_cast<unsigned __int128>(mixed(i)) * room >> 64);
      ends[i] = begins[i] + kLine;
    }
  }

 private:
  // splitmix64 (Steele, Lea and Flood 2014): the same numbers in every call
  static uint64_t mixed(uint64_t i) {
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
};

// `keys`: the sample, line by line, kOutside for what is not selected from. `keep` from 1 to `available`.
template <typename scalar_t, typename K = Key<scalar_t>>
Bracket<K> bracket_of(
    const Scans<scalar_t>& scans, const std::vector<K>& keys, bool complete, int64_t keep, int64_t available) {
  constexpr K kBottom = kOutside<K> + 1;
  constexpr K kTop = std::numeric_limits<K>::max();
  const auto size = static_cast<int64_t>(keys.size());
  int64_t values = 0;
  for (int64_t i = 0; i < size; ++i) {
    values += keys[i] != kOutside<K>;
  }
  if (values < 64 && !complete) {
    return {kBottom, kTop, available, false};
  }
  const double share = (keep - 0.5) / available;
  const auto rank = complete ? keep - 1 : std::min(static_cast<int64_t>(share * values), values - 1);
  const double binomial = std::sqrt(values * share * (1 - share));
  const int64_t reach = complete ? 0 : static_cast<int64_t>(16 * binomial) + 64;
  const int64_t first = std::max<int64_t>(rank - reach, 0);
  const int64_t last = std::min(rank + reach, values - 1);
  const auto near = window(scans, keys, first, last);
  const K middle = near.at(rank);
  if (complete) {
    return {middle, middle, 1, true};
  }

  // The standard error of the number of keys above the threshold. Neighbours are alike, so lines count, not keys; and
  // each line represents its slice, so what matters is how much a line differs from the next one.
  int64_t squares = 0;
  int before = 0;
  for (int64_t i = 0; i < size; i += kLine) {
    int above = 0;
    for (int64_t j = i; j < i + kLine; ++j) {
      above += keys[j] > middle;
    }
    squares += i == 0 ? 0 : (above - before) * (above - before);
    before = above;
  }
  const auto margin = static_cast<int64_t>(4 * std::sqrt(squares / 2.0)) + 2 * kLine;
  const int64_t from = rank - std::min(margin, reach);
  const int64_t to = rank + std::min(margin, reach);
  const K high = from < 0 ? kTop : near.at(from);
  const K low = to >= values ? kBottom : near.at(to);

  int64_t inside = 0;
  for (int64_t i = 0; i < size; ++i) {
    inside += (keys[i] >= low) & (keys[i] <= high);
  }
  const int64_t planned = to - from + 1;
  return {low, high, static_cast<int64_t>(static_cast<double>(inside) / values * available) + 1, inside > 2 * planned};
}

} // namespace prunesweep
