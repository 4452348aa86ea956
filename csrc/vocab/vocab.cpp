#include "vocab/vocab.h"

#include <pybind11/stl.h>

#include <stdexcept>
#include <utility>

namespace py = pybind11;

namespace prunesweep {

Vocab::Vocab(std::vector<std::string> tokens, std::optional<int64_t> default_index) : default_index_(default_index) {
  order_.reserve(tokens.size());
  index_.reserve(tokens.size());
  for (auto& token : tokens) {
    append(std::move(token));
  }
}

int64_t Vocab::index_of(std::string_view token) const {
  const auto found = index_.find(token);
  if (found != index_.end()) {
    return found->second;
  }
  if (default_index_) {
    return *default_index_;
  }
  // the token last: one with a NUL in it ends the message there
  throw std::runtime_error("no default index is set, and not in the vocabulary: token '" + std::string(token) + "'");
}

const std::string& Vocab::token_at(int64_t index) const {
  if (index < 0 || index >= size()) {
    throw std::runtime_error(
        "index " + std::to_string(index) + " is outside a vocabulary of " + std::to_string(size()) + " tokens");
  }
  return *order_[static_cast<size_t>(index)];
}

void Vocab::append(std::string token) {
  insert(std::move(token), size());
}

void Vocab::insert(std::string token, int64_t index) {
  if (index < 0 || index > size()) {
    throw std::runtime_error(
        "cannot insert at index " + std::to_string(index) + " of a vocabulary of " + std::to_string(size()) +
        " tokens");
  }
  if (const auto found = index_.find(token); found != index_.end()) {
    throw std::runtime_error(
        "token '" + token + "' is already in the vocabulary, at index " + std::to_string(found->second));
  }
  const std::string& stored = storage_.emplace_back(std::move(token));
  order_.insert(order_.begin() + index, &stored);
  for (int64_t i = index; i < size(); ++i) {
    index_[*order_[static_cast<size_t>(i)]] = i;
  }
}

std::vector<std::string> Vocab::tokens() const {
  std::vector<std::string> result;
  result.reserve(order_.size());
  for (const std::string* token : order_) {
    result.push_back(*token);
  }
  return result;
}

namespace {

// The bytes Python already holds for `token`; valid as long as `token` lives.
std::string_view utf8(py::handle token) {
  if (!PyUnicode_Check(token.ptr())) {
    throw py::type_error(std::string("a token must be a str, not ") + Py_TYPE(token.ptr())->tp_name);
  }
  Py_ssize_t length = 0;
  const char* bytes = PyUnicode_AsUTF8AndSize(token.ptr(), &length);
  if (bytes == nullptr) {
    throw py::error_already_set();
  }
  return {bytes, static_cast<size_t>(length)};
}

py::list lookup_indices(const Vocab& vocab, const py::list& tokens) {
  py::list indices(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    indices[i] = vocab.index_of(utf8(tokens[i]));
  }
  return indices;
}

std::vector<std::string> lookup_tokens(const Vocab& vocab, const std::vector<int64_t>& indices) {
  std::vector<std::string> tokens;
  tokens.reserve(indices.size());
  for (const int64_t index : indices) {
    tokens.push_back(vocab.token_at(index));
  }
  return tokens;
}

py::dict stoi(const Vocab& vocab) {
  py::dict result;
  for (int64_t i = 0; i < vocab.size(); ++i) {
    result[py::str(vocab.token_at(i))] = i;
  }
  return result;
}

} // namespace
} // namespace prunesweep

void bind_vocab(py::module_& m) {
  using prunesweep::Vocab;
  using Tokens = std::vector<std::string>;
  using Default = std::optional<int64_t>;
  py::class_<Vocab>(m, "Vocab", "Token <-> index table with the methods of torchtext 0.18's compiled Vocab.")
      .def(py::init<Tokens, Default>(), py::arg("tokens"), py::arg("default_index") = py::none())
      .def("__len__", &Vocab::size)
      .def("__contains__", [](const Vocab& v, const py::str& token) { return v.contains(prunesweep::utf8(token)); })
      .def("__getitem__", [](const Vocab& v, const py::str& token) { return v.index_of(prunesweep::utf8(token)); })
      .def("lookup_indices", &prunesweep::lookup_indices)
      .def("lookup_token", &Vocab::token_at)
      .def("lookup_tokens", &prunesweep::lookup_tokens)
      .def("append_token", &Vocab::append)
      .def("insert_token", &Vocab::insert)
      .def("set_default_index", &Vocab::set_default_index)
      .def("get_default_index", &Vocab::default_index)
      .def("get_stoi", &prunesweep::stoi)
      .def("get_itos", &Vocab::tokens)
      .def(
          py::pickle(
              [](const Vocab& v) { return py::make_tuple(v.tokens(), v.default_index()); },
              [](const py::tuple& state) { return Vocab(state[0].cast<Tokens>(), state[1].cast<Default>()); }));
}
