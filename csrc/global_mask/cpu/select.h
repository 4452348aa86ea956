// Exact selection of the highest keys over a list of tensors, in about one pass over them.
//
// A sample brackets the threshold; one pass writes masks as if nothing in the bracket were kept and collects the few
// keys inside; the threshold is selected among those, and their masks are corrected. Where the sample shows that ties
// would fill the bracket, a pass that only counts comes first and a second one writes. The sample decides how long it
// takes and never the result: if it was misleading (the threshold is outside the bracket), a radix select finds the
// threshold.

#pragma once

#include "global_mask/cpu/sample.h"

#include <utility>

namespace prunesweep {

template <typename scalar_t>
class Selection {
 public:
  // The smallest kept value (+infinity for keep = 0), and how many equal it, kept or not (0 for keep = 0).
  using Result = std::pair<double, int64_t>;

  // Whether the pieces have weights and limits, all of them alike. `what` names the values in the message about NaN.
  Selection(Pieces<scalar_t> pieces, bool weights, bool within, const char* what);

  // How many elements there are to select from.
  int64_t available() const {
    return available_;
  }

  // Writes the masks; keep from 0 to available(). Raises on NaN.
  Result select_top(int64_t keep);

  // Raises on NaN.
  void check();

 private:
  using K = Key<scalar_t>;

  template <typename Body>
  void for_each_part(const Body& body) const;
  int64_t first(int64_t part) const;
  void run(decltype(Scans<scalar_t>::mark) scan, const Bracket<K>& bracket);
  int64_t sum(int64_t Found<K>::* count) const;
  bool overflow() const;

  Bracket<K> sample(int64_t keep) const;
  std::vector<K> candidates() const;
  std::vector<int64_t> ties_before(K threshold, int64_t Found<K>::* counted) const;
  Result correct_masks(K threshold, int64_t keep_ties);
  Result write_masks(K threshold, int64_t keep_ties, int64_t Found<K>::* counted);
  K radix_threshold(int64_t keep) const;
  [[noreturn]] void raise_for_nan() const;

  Pieces<scalar_t> pieces_;
  const char* what_;
  const Scans<scalar_t>& scans_;
  int64_t total_;
  int64_t parts_;
  int64_t available_;
  std::vector<Found<K>> found_; // by part, from the last pass
};

} // namespace prunesweep
