// Table of contents: every operator of the extension. Implementations are registered in the files named here.

#include <torch/library.h>

TORCH_LIBRARY(prune, m) {
  // masked_linear.cpp (CPU, shapes only), masked_linear_autograd.cpp (gradients of any order, autocast).
  // The three are closed under differentiation: each one's gradient is made of the others.
  // masked_linear_products.cpp chooses between masked_linear_dense.cpp and masked_linear_sparse.cpp.
  m.def("masked_linear(Tensor x, Tensor weight, Tensor mask, Tensor? bias=None) -> Tensor");
  m.def("masked_linear_grad_input(Tensor grad, Tensor weight, Tensor mask) -> Tensor");
  m.def("masked_linear_grad_weight(Tensor grad, Tensor x, Tensor mask) -> Tensor");

  // masked_linear_plan.cpp: what is kept with a mask about its contents; drop it, and how many bytes it takes.
  m.def("masked_linear_forget(Tensor mask) -> ()");
  m.def("masked_linear_plan_bytes(Tensor mask) -> int");

  // global_mask.cpp (CPU, shapes only). Returns masks, threshold (float64, 0-d), ties (int64, 0-d).
  m.def(
      "global_mask(Tensor[] scores, int keep, Tensor[]? weights=None, Tensor[]? within=None)"
      " -> (Tensor[] masks, Tensor threshold, Tensor ties)");
}
