// Gradients of any order and autocast for the masked linear layer.
//
// With W∘M for the masked weight, the three operators are
//   F(x, W, M, b) = x (W∘M)^T + b      masked_linear
//   X(g, W, M)    = g (W∘M)            masked_linear_grad_input
//   G(g, x, M)    = M∘(g^T x)          masked_linear_grad_weight
// and each one's vector-Jacobian product is made of the others, so no order of differentiation needs a new kernel.

#include "masked_linear/cpu/choose_algorithm.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/core/impl/TorchDispatchModeTLS.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <numeric>

namespace prunesweep {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using MaybeTensor = std::optional<Tensor>;

Tensor F(const Tensor& x, const Tensor& weight, const Tensor& mask, const MaybeTensor& bias) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("prune::masked_linear", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&, const MaybeTensor&)>();
  return op.call(x, weight, mask, bias);
}

Tensor X(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("prune::masked_linear_grad_input", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&)>();
  return op.call(grad, weight, mask);
}

Tensor G(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("prune::masked_linear_grad_weight", "")
                             .typed<Tensor(const Tensor&, const Tensor&, const Tensor&)>();
  return op.call(grad, x, mask);
}

using Wanted = std::array<bool, 3>; // gradients of x, weight, bias

std::tuple<Tensor, Tensor> output_at_once(
    const Tensor& x, const Tensor& weight, const Tensor& mask, const MaybeTensor& bias) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("prune::_masked_linear_output", "")
          .typed<std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const MaybeTensor&)>();
  return op.call(x, weight, mask, bias);
}

std::tuple<Tensor, Tensor, Tensor> gradients_at_once(
    const Tensor& grad, const Tensor& x, const Tensor& weight, const Tensor& mask, const Tensor& masked,
    Wanted wanted) {
  static const auto op =
      c10::Dispatcher::singleton()
          .findSchemaOrThrow("prune::_masked_linear_gradients", "")
          .typed<std::tuple<Tensor, Tensor, Tensor>(
              const Tensor&, const Tensor&, const Tensor&, const Tensor&, const MaybeTensor&, Wanted)>();
  return op.call(grad, x, weight, mask, masked.defined() ? MaybeTensor(masked) : std::nullopt, wanted);
}

// [..., n] -> [n]
Tensor sum_rows(const Tensor& grad) {
  if (grad.dim() == 1) {
    return grad;
  }
  std::vector<int64_t> leading(grad.dim() - 1);
  std::iota(leading.begin(), leading.end(), 0);
  return grad.sum(leading);
}

// Whether nothing observes or replaces what is called below autograd (tracing, fake tensors, counters): then the
// layer's products may share work that the operators, called one by one, would repeat.
bool is_plain(const Tensor& t) {
  const auto keys = t.key_set() - c10::autograd_dispatch_keyset_with_ADInplaceOrView - c10::autocast_dispatch_keyset;
  return keys == c10::DispatchKeySet(c10::DispatchKey::CPU) || keys == c10::DispatchKeySet(c10::DispatchKey::CUDA);
}

bool may_share_work(const Tensor& a, const Tensor& weight, const Tensor& mask) {
  return is_plain(a) && is_plain(weight) && is_plain(mask) && !c10::impl::TorchDispatchModeTLS::any_modes_set();
}

struct MaskedLinear : torch::autograd::Function<MaskedLinear> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& x, const Tensor& weight, const Tensor& mask, const MaybeTensor& bias) {
    ctx->saved_data["has_bias"] = bias.has_value(); // without it there is no input 3 for needs_input_grad
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    if (!may_share_work(x, weight, mask) || (bias && !is_plain(*bias))) {
      ctx->save_for_backward({x, weight, mask, Tensor()});
      return F(x, weight, mask, bias);
    }
    auto [y, masked] = output_at_once(x, weight, mask, bias);
    ctx->save_for_backward({x, weight, mask, x.requires_grad() ? masked : Tensor()});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1], &mask = saved[2], &grad = grads[0];
    const bool has_bias = ctx->saved_data.at("has_bias").toBool();
    const Wanted wanted{ctx->needs_input_grad(0), ctx->needs_input_grad(1), has_bias && ctx->needs_input_grad(3)};
    if (!at::GradMode::is_enabled() && may_share_work(grad, weight, mask)) {
      at::AutoDispatchBelowADInplaceOrView below_autograd;
      c10::impl::ExcludeDispatchKeyGuard below_autocast(c10::autocast_dispatch_keyset);
      auto [by_x, by_weight, by_bias] = gradients_at_once(grad, x, weight, mask, saved[3], wanted);
      return {by_x, by_weight, Tensor(), by_bias};
    }
    return {
        wanted[0] ? X(grad, weight, mask) : Tensor(), wanted[1] ? G(grad, x, mask) : Tensor(), Tensor(),
        wanted[2] ? sum_rows(grad) : Tensor()};
  }
};

struct GradInput : torch::autograd::Function<GradInput> {
  static Tensor forward(AutogradContext* ctx, const Tensor& grad, const Tensor& weight, const Tensor& mask) {
    ctx->save_for_backward({grad, weight, mask});
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    return X(grad, weight, mask);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &grad = saved[0], &weight = saved[1], &mask = saved[2], &v = grads[0];
    return {
        ctx->needs_input_grad(0) ? F(v, weight, mask, std::nullopt) : Tensor(),
        ctx->needs_input_grad(1) ? G(grad, v, mask) : Tensor(), Tensor()};
  }
};

struct GradWeight : torch::autograd::Function<GradWeight> {
  static Tensor forward(AutogradContext* ctx, const Tensor& grad, const Tensor& x, const Tensor& mask) {
    ctx->save_for_backward({grad, x, mask});
    at::AutoDispatchBelowADInplaceOrView below_autograd;
    return G(grad, x, mask);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto saved = ctx->get_saved_variables();
    const auto &grad = saved[0], &x = saved[1], &mask = saved[2], &v = grads[0];
    return {
        ctx->needs_input_grad(0) ? F(x, v, mask, std::nullopt) : Tensor(),
        ctx->needs_input_grad(1) ? X(grad, v, mask) : Tensor(), Tensor()};
  }
};

Tensor masked_linear_autograd(const Tensor& x, const Tensor& weight, const Tensor& mask, const MaybeTensor& bias) {
  return MaskedLinear::apply(x, weight, mask, bias);
}

Tensor grad_input_autograd(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
  return GradInput::apply(grad, weight, mask);
}

Tensor grad_weight_autograd(const Tensor& grad, const Tensor& x, const Tensor& mask) {
  return GradWeight::apply(grad, x, mask);
}

// As in torch.nn.functional.linear, float32 is cast to autocast's dtype and float64 stays. But products with few kept
// weights are faster, and more exact, in float32.
template <at::DeviceType device>
struct Autocast {
  static Tensor lower(const Tensor& t) {
    return at::autocast::cached_cast(at::autocast::get_autocast_dtype(device), t, device);
  }

  static Tensor output(const Tensor& x, const Tensor& weight, const Tensor& mask, const MaybeTensor& bias) {
    c10::impl::ExcludeDispatchKeyGuard below_autocast(c10::autocast_dispatch_keyset);
    if constexpr (device == at::kCPU) {
      if (weight.scalar_type() == at::kFloat && may_share_work(x, weight, mask) && better_in_float32(mask)) {
        return F(x.to(at::kFloat), weight, mask, bias).to(at::autocast::get_autocast_dtype(device));
      }
    }
    return F(lower(x), lower(weight), mask, bias ? MaybeTensor(lower(*bias)) : std::nullopt);
  }

  static Tensor grad_input(const Tensor& grad, const Tensor& weight, const Tensor& mask) {
    c10::impl::ExcludeDispatchKeyGuard below_autocast(c10::autocast_dispatch_keyset);
    return X(lower(grad), lower(weight), mask);
  }

  static Tensor grad_weight(const Tensor& grad, const Tensor& x, const Tensor& mask) {
    c10::impl::ExcludeDispatchKeyGuard below_autocast(c10::autocast_dispatch_keyset);
    return G(lower(grad), lower(x), mask);
  }

  static void implement(torch::Library& m) {
    m.impl("masked_linear", &output);
    m.impl("masked_linear_grad_input", &grad_input);
    m.impl("masked_linear_grad_weight", &grad_weight);
  }
};

} // namespace

TORCH_LIBRARY_IMPL(prune, Autograd, m) {
  m.impl("masked_linear", &masked_linear_autograd);
  m.impl("masked_linear_grad_input", &grad_input_autograd);
  m.impl("masked_linear_grad_weight", &grad_weight_autograd);
}

TORCH_LIBRARY_IMPL(prune, AutocastCPU, m) {
  Autocast<at::kCPU>::implement(m);
}

TORCH_LIBRARY_IMPL(prune, AutocastCUDA, m) {
  Autocast<at::kCUDA>::implement(m);
}

} // namespace prunesweep
