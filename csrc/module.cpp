// The Python module prune._C. Importing it also registers the operators of ops.cpp under torch.ops.prune.

#include <pybind11/pybind11.h>

#include "vocab/vocab.h"

PYBIND11_MODULE(_C, m) {
  bind_vocab(m);
}
