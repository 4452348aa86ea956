"""The linear form of a network: nothing but non-negative weights between a constant input and the output."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from prune.errors import NoLinearForm, PruneError
from prune.masked_linear import MaskedLinear
from prune.scoring_context import Batches, own_tensors

_FIX = "give the module that is not homogeneous (normalisation, softmax, negative constants) a synflow_form() method"


@contextmanager
def linear_form(model: nn.Module) -> Iterator[None]:
    """Put `model` into its linear form for the time of the context.

    Every `nn.Embedding` and `nn.EmbeddingBag` gives ones of its output's shape, in float64. Every submodule that has a
    method `synflow_form()`, which returns a context manager, is inside that context; there it has to be
    homogeneous of degree one and to map non-negative input to non-negative output.
    """
    with ExitStack() as stack:
        for module in list(model.modules()):
            if callable(form := getattr(module, "synflow_form", None)):
                stack.enter_context(form())
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                stack.callback(module.register_forward_hook(_ones).remove)
            elif isinstance(module, nn.Linear):
                stack.callback(module.register_forward_pre_hook(_non_negative(name)).remove)
        yield


def synaptic_flow(model: nn.Module, batches: Batches, weights: Mapping[str, Tensor]) -> Tensor:
    """Return R: the summed output of the linear form for an input of ones, per sample, as a float64 scalar.

    For a stack of linear layers with ReLU, R = 1^T |W_L| ... |W_1| 1 (Tanaka et al. 2020), so |w| dR/d|w|
    summed over a layer is R for every layer on the only path. Biases are left out, parameters other than `weights`
    enter with their absolute value.

    Args:
        model: in eval mode.
        batches: the inputs of the first batch give the shapes: tensors of floats become ones, others (tokens,
            offsets, boolean masks) stay as they are. A batch of one sample is enough, and cheapest.
        weights: {dotted layer name: float64 [out, in]} for the prunable layers, non-negative; R is differentiable in them.

    Raises:
        PruneError: no batch.
        NoLinearForm (a PruneError): a flow that is negative, not finite, or zero with every weight at one: the network
            is not homogeneous and does not offer its linear form.
    """
    if not batches:
        raise PruneError(
            "synaptic flow takes the shapes of its input from a batch and got none: give at least one"
        )
    inputs = tree_map(
        lambda x: (
            torch.ones_like(x, dtype=torch.float64) if isinstance(x, Tensor) and x.is_floating_point() else x
        ),
        tuple(batches[0][0]),
    )
    flow = _flow(model, inputs, weights)
    if not (flow.isfinite() and flow >= 0):
        raise NoLinearForm(f"the synaptic flow is {flow.item()}, neither positive nor zero: {_FIX}")
    if flow == 0 and not _flow(model, inputs, {name: torch.ones_like(w) for name, w in weights.items()}) > 0:
        raise NoLinearForm(f"no synaptic flow reaches the output even with all weights at one: {_FIX}")
    return flow


def live_weights(model: nn.Module, batches: Batches, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return per layer which kept weights lie on a path of kept weights from the input to the output.

    A weight lies on such a path if and only if its synaptic flow is positive when every kept weight is one. Activations and
    gradients are set back to 0 or 1 at every linear layer, so that neither overflows nor vanishes in a deep network.

    Args:
        model, batches: as for `synaptic_flow`; the model may be in any mode with gradients on.
        masks: {dotted layer name: bool [out, in]}.

    Returns:
        {dotted layer name: bool [out, in]}, false wherever the mask is.

    Raises:
        PruneError: as `synaptic_flow`; or a layer whose output goes on without its gradient (`detach`, NumPy), so that its paths
            cannot be followed.
    """
    weights = {name: mask.double().requires_grad_() for name, mask in masks.items()}
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                stack.callback(module.register_forward_hook(_reached).remove)
        flow = synaptic_flow(model, batches, weights)
        gradient: Sequence[Tensor | None] = [None] * len(weights)
        if flow.requires_grad:
            gradient = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
        unused = {
            name: torch.zeros_like(weights[name])
            for name, g in zip(weights, gradient, strict=True)
            if g is None
        }
        if unused and synaptic_flow(model, batches, {**weights, **unused}) != flow:
            raise PruneError(
                f"the output of one of {', '.join(unused)} goes on without its gradient, so its paths cannot be followed"
            )
    return {
        name: torch.zeros_like(masks[name]) if g is None else (g > 0) & masks[name]
        for name, g in zip(masks, gradient, strict=True)
    }


def _flow(model: nn.Module, inputs: tuple[Any, ...], weights: Mapping[str, Tensor]) -> Tensor:
    with linear_form(model):
        tensors = {
            name: _positive(name, tensor)
            for name, module, tensor in own_tensors(model)
            # their output is replaced, so the largest tensors of a text model need no float64 copy
            if tensor.is_floating_point() and not isinstance(module, nn.Embedding | nn.EmbeddingBag)
        }
        modules = dict(model.named_modules())
        for layer, weight in weights.items():
            prefix = f"{layer}." if layer else ""
            tensors[f"{prefix}weight"] = weight
            # what is pruned is zero in `weights` already; the layer's own mask must not prune it again
            if isinstance(modules[layer], MaskedLinear):
                tensors[f"{prefix}weight_mask"] = torch.ones_like(weight, dtype=torch.bool)
        with _InFloat64():
            output = functional_call(model, tensors, inputs, tie_weights=False)
    sums = [
        tensor.sum(dtype=torch.float64) / (max(len(tensor), 1) if tensor.dim() else 1)
        for tensor in tree_leaves(output)
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    ]
    return torch.stack(sums).sum()


_LOOK_UPS = (functional.embedding, functional.embedding_bag, torch.embedding, torch.embedding_bag)


class _InFloat64(TorchFunctionMode):
    """Makes float64 of what a model makes float32 or less, `x.float()`, `torch.zeros(n)`, `x.to(dtype)`, and of what it holds.

    It holds tensors that are neither parameters nor buffers, which keep their values, and tables of embeddings that are used
    elsewhere, too, which enter with their absolute value as every parameter does. A look-up needs no copy of its table: its
    output is replaced.
    """

    def __torch_function__(
        self, func: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and name != "__get__"  # `weight.T` is a `__get__`
        if func not in _LOOK_UPS and not in_place:
            args, kwargs = tree_map(_wide, (args, kwargs))
        result = func(*args, **kwargs)
        return result.double() if _is_narrow(result) else result


def _is_narrow(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64


def _wide(value: Any) -> Any:
    if not _is_narrow(value):
        return value
    return value.detach().double().abs() if isinstance(value, nn.Parameter) else value.double()


def _positive(name: str, tensor: Tensor) -> Tensor:
    value = tensor.detach().double()
    if not isinstance(tensor, nn.Parameter):
        return value
    return torch.zeros_like(value) if name.rpartition(".")[2].endswith("bias") else value.abs()


def _ones(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return torch.ones_like(output, dtype=torch.float64)


def _non_negative(name: str) -> Any:
    def check(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if (inputs[0] < 0).any():
            raise NoLinearForm(
                f"layer '{name}' gets negative input in the linear form of the network: {_FIX}"
            )

    return check


def _reached(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    reached = output / output.detach().where(output > 0, 1)
    if reached.requires_grad:
        reached.register_hook(lambda gradient: (gradient > 0).to(gradient))
    return reached
