// The Python module prune._C_cuda. Importing it registers the operators of ops.cpp for CUDA; prune._C has to be
// imported first. It also loads on machines without CUDA: the CUDA runtime is linked in, and needs the driver only at
// its first use.

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_C_cuda, m) {
  m.doc() = "The operators of torch.ops.prune for CUDA.";
}
