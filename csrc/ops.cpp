// Table of contents: every operator of the extension. Implementations are registered in the files named here, those for
// CUDA in the files of the same names in cuda/, which are a library of their own.

#include <torch/library.h>

TORCH_LIBRARY(prune, m) {
  // masked_linear.cpp (CPU, shapes only), masked_linear_autograd.cpp (gradients of any order, autocast).
  // The three are closed under differentiation: each one's gradient is made of the others.
  // masked_linear_products.cpp chooses between masked_linear_dense.cpp and masked_linear_sparse.cpp.
  m.def("masked_linear(Tensor x, Tensor weight, Tensor mask, Tensor? bias=None) -> Tensor");
  m.def("masked_linear_grad_input(Tensor grad, Tensor weight, Tensor mask) -> Tensor");
  m.def("masked_linear_grad_weight(Tensor grad, Tensor x, Tensor mask) -> Tensor");

  // Internal: all that a training step needs of a layer at once, so that its parts can share work. Below autograd, where
  // nothing traces or replaces operators. What is not wanted, or not made on this way, is undefined. `masked` is the masked
  // weight, from the one to the other.
  m.def("_masked_linear_output(Tensor x, Tensor weight, Tensor mask, Tensor? bias) -> (Tensor y, Tensor masked)");
  m.def(
      "_masked_linear_gradients(Tensor grad, Tensor x, Tensor weight, Tensor mask, Tensor? masked, bool[3] wanted)"
      " -> (Tensor x_grad, Tensor weight_grad, Tensor bias_grad)");

  // masked_linear_plan.cpp: what is kept with a mask about its contents; drop it, and how many bytes it takes.
  m.def("masked_linear_forget(Tensor mask) -> ()");
  m.def("masked_linear_plan_bytes(Tensor mask) -> int");

  // global_mask.cpp. Returns masks, and on the CPU whatever the device of scores, threshold (float64, 0-d) and ties (int64, 0-d).
  m.def(
      "global_mask(Tensor[] scores, int keep, Tensor[]? weights=None, Tensor[]? within=None)"
      " -> (Tensor[] masks, Tensor threshold, Tensor ties)");

  // global_mask_checks.cpp: raises for arguments that do not fit; for the shape-only kernel, which is in prune/ops.py.
  m.def("_check_global_mask(Tensor[] scores, Tensor[]? weights, Tensor[]? within) -> ()");
}
