// A radix select: floating-point values become unsigned integers of the same order, and each pass counts one digit of
// the keys that share the digits of the threshold found so far.

#include "global_mask.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

namespace prunesweep {
namespace {

using at::Tensor;

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
  auto bits = std::bit_cast<K>(static_cast<Wide<scalar_t>>(value));
  bits = bits == sign ? K{0} : bits;
  return bits & sign ? ~bits : bits | sign;
}

template <typename scalar_t>
double from_key(Key<scalar_t> key) {
  using K = Key<scalar_t>;
  constexpr K sign = K{1} << (sizeof(K) * 8 - 1);
  return std::bit_cast<Wide<scalar_t>>(key & sign ? static_cast<K>(key & ~sign) : static_cast<K>(~key));
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
    std::vector<int64_t> inside(parts_), nans(parts_ * pieces_.size());
    for_each_part([&](int64_t part) {
      for_each_value(part, [&](size_t piece, int64_t, scalar_t value) {
        ++inside[part];
        nans[part * pieces_.size() + piece] += std::isnan(static_cast<Wide<scalar_t>>(value));
      });
    });
    for (size_t piece = 0; piece < pieces_.size(); ++piece) {
      int64_t count = 0;
      for (int64_t part = 0; part < parts_; ++part) {
        count += nans[part * pieces_.size() + piece];
      }
      TORCH_CHECK_VALUE(
          count == 0, "global_mask: tensor ", piece, " of ", what, " holds ", count,
          " NaN; only values that can be ordered are accepted");
    }
    int64_t count = 0;
    for (const auto n : inside) {
      count += n;
    }
    return count;
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

void check_tensor(const char* name, size_t i, const Tensor& t, at::ScalarType dtype, const Tensor& like) {
  TORCH_CHECK(
      t.scalar_type() == dtype,
      "global_mask: ", name, "[", i, "] has dtype ", t.scalar_type(), ", but ", dtype, " is needed");
  TORCH_CHECK(
      t.device() == like.device(),
      "global_mask: ", name, "[", i, "] is on ", t.device(), ", but ", like.device(), " is needed");
}

void check_companions(
    const char* name, const OptionalTensorList& list, at::TensorList scores, at::ScalarType dtype) {
  if (!list) {
    return;
  }
  TORCH_CHECK_VALUE(
      list->size() == scores.size(),
      "global_mask: ", name, " has ", list->size(), " tensors, but scores has ", scores.size(),
      "; one for each is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    const auto& t = (*list)[i];
    check_tensor(name, i, t, dtype, scores[i]);
    TORCH_CHECK(
        t.sym_sizes().equals(scores[i].sym_sizes()),
        "global_mask: ", name, "[", i, "] has shape ", t.sym_sizes(), ", but the shape of scores[", i, "] ",
        scores[i].sym_sizes(), " is needed");
  }
}

void check_arguments(at::TensorList scores, const OptionalTensorList& weights, const OptionalTensorList& within) {
  TORCH_CHECK_VALUE(!scores.empty(), "global_mask: scores is an empty list, but at least one tensor is needed");
  const auto dtype = scores[0].scalar_type();
  TORCH_CHECK(
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16,
      "global_mask: scores[0] has dtype ", dtype, ", but float32, float64 or bfloat16 is needed");
  for (size_t i = 0; i < scores.size(); ++i) {
    check_tensor("scores", i, scores[i], dtype, scores[0]);
  }
  check_companions("weights", weights, scores, dtype);
  check_companions("within", within, scores, at::kBool);
}

GlobalMask global_mask_meta(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_arguments(scores, weights, within);
  std::vector<Tensor> masks;
  for (const auto& s : scores) {
    masks.push_back(at::empty_symint(s.sym_sizes(), s.options().dtype(at::kBool)));
  }
  const auto scalar = scores[0].options();
  return {std::move(masks), at::empty({}, scalar.dtype(at::kDouble)), at::empty({}, scalar.dtype(at::kLong))};
}

} // namespace

GlobalMask global_mask_cpu(
    at::TensorList scores, int64_t keep, const OptionalTensorList& weights, const OptionalTensorList& within) {
  check_arguments(scores, weights, within);
  std::vector<Tensor> masks;
  std::vector<Tensor> alive; // contiguous copies the pieces point into
  double threshold = std::numeric_limits<double>::infinity();
  int64_t ties = 0;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, scores[0].scalar_type(), "global_mask", [&] {
    std::vector<Piece<scalar_t>> pieces;
    int64_t begin = 0;
    for (size_t i = 0; i < scores.size(); ++i) {
      masks.push_back(at::zeros(scores[i].sizes(), scores[i].options().dtype(at::kBool)));
      const auto data = [&](const Tensor& t) { return alive.emplace_back(t.contiguous()); };
      pieces.push_back(
          {data(scores[i]).template const_data_ptr<scalar_t>(),
           weights ? data((*weights)[i]).template const_data_ptr<scalar_t>() : nullptr,
           within ? data((*within)[i]).template const_data_ptr<bool>() : nullptr,
           masks[i].template mutable_data_ptr<bool>(),
           begin,
           scores[i].numel()});
      begin += scores[i].numel();
    }
    Selection<scalar_t> selection(std::move(pieces));
    const auto available = selection.check_and_count(weights ? "scores * weights" : "scores");
    TORCH_CHECK_VALUE(
        0 <= keep && keep <= available,
        "global_mask: keep is ", keep, ", but it needs to be between 0 and ", available, ", the number of scores",
        within ? " where within is true" : "");
    if (keep > 0) {
      std::tie(threshold, ties) = selection.select(keep);
    }
  });
  const auto scalar = scores[0].options();
  return {
      std::move(masks),
      at::scalar_tensor(threshold, scalar.dtype(at::kDouble)),
      at::scalar_tensor(ties, scalar.dtype(at::kLong))};
}

TORCH_LIBRARY_IMPL(prune, CPU, m) {
  m.impl("global_mask", &global_mask_cpu);
}

TORCH_LIBRARY_IMPL(prune, Meta, m) {
  m.impl("global_mask", &global_mask_meta);
}

TORCH_LIBRARY_IMPL(prune, Autograd, m) {
  m.impl("global_mask", torch::autograd::autogradNotImplementedFallback());
}

} // namespace prunesweep
