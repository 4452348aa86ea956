#include "global_mask/cpu/select.h"

#include "global_mask/cpu/radix_select.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <numeric>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace prunesweep {
namespace {

constexpr int64_t kMinPartSize = 1 << 15; // smaller parts are not worth another thread
constexpr int64_t kMaxPartSize = int64_t{1} << 31; // candidates have 32-bit offsets

// Makes this thread treat denormals as the calling one does, so that products do not depend on the thread.
class SameRounding {
 public:
#if defined(__x86_64__)
  explicit SameRounding(unsigned caller) : own_(_mm_getcsr()) {
    _mm_setcsr(caller);
  }
  ~SameRounding() {
    _mm_setcsr(own_);
  }
  static unsigned current() {
    return _mm_getcsr();
  }

 private:
  unsigned own_;
#else
  explicit SameRounding(unsigned) {}
  static unsigned current() {
    return 0;
  }
#endif
};

} // namespace

template <typename scalar_t>
Selection<scalar_t>::Selection(Pieces<scalar_t> pieces, bool weights, bool within, const char* what)
    : pieces_(std::move(pieces)),
      what_(what),
      scans_(scans<scalar_t>(weights, within)),
      total_(pieces_.back().begin + pieces_.back().size),
      parts_(std::max(std::clamp<int64_t>(total_ / kMinPartSize, 1, at::get_num_threads()), total_ / kMaxPartSize + 1)),
      available_(total_),
      found_(parts_) {
  if (within) {
    std::vector<int64_t> inside(parts_);
    for_each_part([&](int64_t part) {
      for (const auto& piece : pieces_) {
        const int64_t begin = std::max<int64_t>(first(part) - piece.begin, 0);
        const int64_t end = std::min(first(part + 1) - piece.begin, piece.size);
        for (int64_t i = begin; i < end; ++i) {
          inside[part] += piece.inside[i];
        }
      }
    });
    available_ = std::accumulate(inside.begin(), inside.end(), int64_t{0});
  }
}

template <typename scalar_t>
std::pair<double, int64_t> Selection<scalar_t>::select_top(int64_t keep) {
  if (keep == 0) {
    constexpr K beyond = std::numeric_limits<K>::max();
    run(scans_.mark, {beyond, beyond, 0, false});
    return {std::numeric_limits<double>::infinity(), 0};
  }
  const Bracket<K> bracket = sample(keep);
  run(bracket.ties ? scans_.count : scans_.mark, bracket);
  const bool collected = !overflow();
  auto between = collected ? candidates() : std::vector<K>();
  const int64_t above = sum(&Found<K>::above);
  const int64_t at_high = bracket.ties ? sum(&Found<K>::at_high) : 0;
  // one key at both ends is counted once
  const int64_t at_low = bracket.ties && bracket.low < bracket.high ? sum(&Found<K>::at_low) : 0;
  const auto inside = static_cast<int64_t>(between.size());

  const int64_t rank = keep - above - 1; // of the threshold, from the end of the bracket
  if (0 <= rank && rank < at_high) {
    return write_masks(bracket.high, keep - above, &Found<K>::at_high);
  }
  if (collected && at_high <= rank && rank < at_high + inside) {
    const K threshold = window(scans_, between, rank - at_high, rank - at_high).at(rank - at_high);
    const int64_t greater = std::count_if(between.begin(), between.end(), [=](K key) { return key > threshold; });
    const int64_t keep_ties = keep - above - at_high - greater;
    return bracket.ties ? write_masks(threshold, keep_ties, nullptr) : correct_masks(threshold, keep_ties);
  }
  if (collected && at_high + inside <= rank && rank < at_high + inside + at_low) {
    return write_masks(bracket.low, keep - above - at_high - inside, &Found<K>::at_low);
  }
  const K threshold = radix_threshold(keep);
  run(scans_.count, {threshold, threshold, 0, true});
  return write_masks(threshold, keep - sum(&Found<K>::above), &Found<K>::at_high);
}

template <typename scalar_t>
void Selection<scalar_t>::check() {
  run(scans_.count, {0, 0, 0, true});
}

template <typename scalar_t>
template <typename Body>
void Selection<scalar_t>::for_each_part(const Body& body) const {
  const auto rounding = SameRounding::current();
  at::parallel_for(0, parts_, 1, [&](int64_t begin, int64_t end) {
    const SameRounding same(rounding);
    for (int64_t part = begin; part < end; ++part) {
      body(part);
    }
  });
}

// The first position of a part: the same cut in every pass.
template <typename scalar_t>
int64_t Selection<scalar_t>::first(int64_t part) const {
  return total_ / parts_ * part + std::min(part, total_ % parts_);
}

// A pass over everything, which fills found_. Raises on NaN.
template <typename scalar_t>
void Selection<scalar_t>::run(decltype(Scans<scalar_t>::mark) scan, const Bracket<K>& bracket) {
  for_each_part([&](int64_t part) {
    auto& found = found_[part] = Found<K>();
    found.between.limit = 2 * bracket.expected + 4096;
    found.between.reserve(std::min((bracket.ties ? 0 : bracket.expected * 5 / 4 / parts_) + 256, total_ + 64));
    scan(pieces_, first(part), first(part + 1), bracket.low, bracket.high, found);
  });
  for (const auto& found : found_) {
    if (found.nan) {
      raise_for_nan();
    }
  }
}

template <typename scalar_t>
int64_t Selection<scalar_t>::sum(int64_t Found<K>::* count) const {
  return std::accumulate(
      found_.begin(), found_.end(), int64_t{0}, [=](int64_t s, const Found<K>& f) { return s + f.*count; });
}

template <typename scalar_t>
bool Selection<scalar_t>::overflow() const {
  return std::any_of(found_.begin(), found_.end(), [](const Found<K>& f) { return f.between.overflow; });
}

template <typename scalar_t>
Bracket<Key<scalar_t>> Selection<scalar_t>::sample(int64_t keep) const {
  const SampleLines lines(total_);
  const auto count = static_cast<int64_t>(lines.begins.size());
  std::vector<K> keys(count * kLine);
  for_each_part([&](int64_t part) {
    const int64_t from = count * part / parts_;
    const int64_t to = count * (part + 1) / parts_;
    scans_.sample(pieces_, &lines.begins[from], &lines.ends[from], to - from, &keys[from * kLine]);
  });
  return bracket_of(scans_, keys, lines.complete, keep, available_);
}

template <typename scalar_t>
std::vector<Key<scalar_t>> Selection<scalar_t>::candidates() const {
  std::vector<K> keys;
  keys.reserve(std::accumulate(found_.begin(), found_.end(), int64_t{0}, [](int64_t s, const Found<K>& f) {
    return s + f.between.size;
  }));
  for (const auto& found : found_) {
    keys.insert(keys.end(), found.between.keys.get(), found.between.keys.get() + found.between.size);
  }
  return keys;
}

// How many keys equal to the threshold are before each part, and before the end: as the last pass counted them, or, if
// null, among the candidates.
template <typename scalar_t>
std::vector<int64_t> Selection<scalar_t>::ties_before(K threshold, int64_t Found<K>::* counted) const {
  std::vector<int64_t> before(parts_ + 1);
  for (int64_t part = 0; part < parts_; ++part) {
    const auto& found = found_[part];
    const K* keys = found.between.keys.get();
    before[part + 1] =
        before[part] + (counted != nullptr ? found.*counted : std::count(keys, keys + found.between.size, threshold));
  }
  return before;
}

// After a pass that marked: the candidates above the threshold are kept, and the first `keep_ties` of those equal to
// it.
template <typename scalar_t>
std::pair<double, int64_t> Selection<scalar_t>::correct_masks(K threshold, int64_t keep_ties) {
  const auto before = ties_before(threshold, nullptr);
  for_each_part([&](int64_t part) {
    const auto& between = found_[part].between;
    int64_t ties = before[part];
    auto piece = pieces_.begin();
    for (int64_t i = 0; i < between.size; ++i) {
      const int64_t position = first(part) + between.offsets[i];
      while (position >= piece->begin + piece->size) {
        ++piece;
      }
      // without a branch, which half of the candidates would mispredict; ties are few
      const K key = between.keys[i];
      bool kept = key > threshold;
      if (key == threshold) {
        kept = ties++ < keep_ties;
      }
      piece->mask[position - piece->begin] = kept;
    }
  });
  return {from_key<scalar_t>(threshold), before.back()};
}

// The last pass: all keys above the threshold are kept, and the first `keep_ties` of those equal to it.
template <typename scalar_t>
std::pair<double, int64_t> Selection<scalar_t>::write_masks(
    K threshold, int64_t keep_ties, int64_t Found<K>::* counted) {
  const auto before = ties_before(threshold, counted);
  for_each_part([&](int64_t part) {
    const int64_t ties = std::clamp<int64_t>(keep_ties - before[part], 0, before[part + 1] - before[part]);
    scans_.write(pieces_, first(part), first(part + 1), threshold, ties);
  });
  return {from_key<scalar_t>(threshold), before.back()};
}

// Reads all the scores once for each digit, whatever they are.
template <typename scalar_t>
Key<scalar_t> Selection<scalar_t>::radix_threshold(int64_t keep) const {
  RadixSelect<K> radix(parts_, keep);
  while (radix.next_digit()) {
    for_each_part([&](int64_t part) { radix.count(part, pieces_, first(part), first(part + 1)); });
  }
  return radix.threshold();
}

template <typename scalar_t>
void Selection<scalar_t>::raise_for_nan() const {
  std::vector<int64_t> nans(pieces_.size());
  for_each_key(
      pieces_, 0, total_, [&](size_t piece, K key) { nans[piece] += key > kInfinity<K> || key < -kInfinity<K>; });
  const auto first_with = std::find_if(nans.begin(), nans.end(), [](int64_t n) { return n > 0; });
  TORCH_CHECK_VALUE(
      false, "global_mask: tensor ", first_with - nans.begin(), " of ", what_, " holds ", *first_with,
      " NaN; only values that can be ordered are accepted");
}

template class Selection<float>;
template class Selection<double>;
template class Selection<c10::BFloat16>;

} // namespace prunesweep
