// A token <-> index table that replaces the compiled vocabulary of torchtext 0.18.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace prunesweep {

class Vocab {
 public:
  // Throws std::runtime_error when a token occurs twice.
  Vocab(std::vector<std::string> tokens, std::optional<int64_t> default_index);
  // The map's keys point into this object's own strings.
  Vocab(const Vocab&) = delete;
  Vocab& operator=(const Vocab&) = delete;
  Vocab(Vocab&&) = default;
  Vocab& operator=(Vocab&&) = default;

  int64_t size() const {
    return static_cast<int64_t>(order_.size());
  }
  bool contains(std::string_view token) const {
    return index_.count(token) != 0;
  }
  // Index of `token`, else the default index; throws std::runtime_error when there is neither.
  int64_t index_of(std::string_view token) const;
  // Throws std::runtime_error when `index` is outside [0, size()).
  const std::string& token_at(int64_t index) const;

  // Both throw std::runtime_error for a known token; insert also for an index outside [0, size()].
  void append(std::string token);
  void insert(std::string token, int64_t index);

  void set_default_index(std::optional<int64_t> index) {
    default_index_ = index;
  }
  std::optional<int64_t> default_index() const {
    return default_index_;
  }
  std::vector<std::string> tokens() const;

 private:
  std::deque<std::string> storage_; // never erased from, so that addresses stay valid
  std::vector<const std::string*> order_; // index -> token
  std::unordered_map<std::string_view, int64_t> index_;
  std::optional<int64_t> default_index_;
};

} // namespace prunesweep

// Adds the class `Vocab` to the Python module `m`.
void bind_vocab(pybind11::module_& m);
