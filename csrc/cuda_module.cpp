// The Python module prune._C_cuda. Importing it registers the operators of ops.cpp for CUDA; prune._C has to be there already.
// It loads where there is no CUDA, too: the CUDA runtime is linked in, and asks for the driver when it is first used.

#include <pybind11/pybind11.h>

PYBIND11_MODULE(_C_cuda, m) {
  m.doc() = "The operators of torch.ops.prune for CUDA.";
}
