// Table of contents: every operator of the extension, in each section the files that implement it. Those in cuda/ are a
// library of their own. Shape-only kernels (torch.library.register_fake) are in prune/ops.py.

#include <torch/library.h>

TORCH_LIBRARY(prune, m) {
  // masked_linear/: masked_linear.cpp (CPU), cuda/register.cpp (CUDA), autograd.cpp (gradients of any order, autocast).
  // The three are closed under differentiation: each one's gradient is made of the others.
  // cpu/products.cpp runs the algorithm that {cpu,cuda}/choose_algorithm.cpp has chosen.
  m.def("masked_linear(Tensor x, Tensor weight, Tensor mask, Tensor? bias=None) -> Tensor");
  m.def("masked_linear_grad_input(Tensor grad, Tensor weight, Tensor mask) -> Tensor");
  m.def("masked_linear_grad_weight(Tensor grad, Tensor x, Tensor mask) -> Tensor");

  // Internal: all that a training step needs of a layer at once, so that its parts can share work. Below autograd,
  // where nothing traces or replaces operators. What is not wanted, or not computed by this algorithm, is undefined.
  // `masked` is the masked weight, passed from the one to the other.
  m.def("_masked_linear_output(Tensor x, Tensor weight, Tensor mask, Tensor? bias) -> (Tensor y, Tensor masked)");
  m.def(
      "_masked_linear_gradients(Tensor grad, Tensor x, Tensor weight, Tensor mask, Tensor? masked, bool[3] wanted)"
      " -> (Tensor x_grad, Tensor weight_grad, Tensor bias_grad)");

  // masked_linear/{cpu,cuda}/mask_plan.cpp: what is cached with a mask about its contents; drop it, and its size in
  // bytes.
  m.def("masked_linear_forget(Tensor mask) -> ()");
  m.def("masked_linear_plan_bytes(Tensor mask) -> int");

  // masked_linear/common/checks.cpp: raise for arguments that do not fit; for the shape-only kernels.
  m.def("_check_masked_linear(Tensor x, Tensor weight, Tensor mask, Tensor? bias=None) -> ()");
  m.def("_check_masked_linear_grad_input(Tensor grad, Tensor weight, Tensor mask) -> ()");
  m.def("_check_masked_linear_grad_weight(Tensor grad, Tensor x, Tensor mask) -> ()");

  // global_mask/: global_mask.cpp (CPU), cuda/register.cpp (CUDA). Returns masks, and on the CPU whatever the device of
  // scores, threshold (float64, 0-d) and ties (int64, 0-d).
  m.def(
      "global_mask(Tensor[] scores, int keep, Tensor[]? weights=None, Tensor[]? within=None)"
      " -> (Tensor[] masks, Tensor threshold, Tensor ties)");

  // global_mask/checks.cpp: raises for arguments that do not fit; for the shape-only kernel.
  m.def("_check_global_mask(Tensor[] scores, Tensor[]? weights, Tensor[]? within) -> ()");
}
