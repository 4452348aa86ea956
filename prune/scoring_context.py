"""What a pruning method sees of a model: its prunable weights, its losses and their derivatives, on copies."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from prune.errors import PruneError
from prune.eval_mode import eval_mode
from prune.random_state import random_state_kept

Batches = Sequence[tuple[tuple[Any, ...], Any]]
Count = Callable[[Any], float | Tensor]
"""Of a batch's target: how many items the batch's loss is the mean over."""


def rows(target: Any) -> int:
    """Rows of a target: the first dimension of the first tensor in it, also inside tuples, lists and mappings.

    Raises:
        PruneError: no tensor in it has a dimension. What such a batch counts compared with others is not for us to guess.
    """
    for leaf in tree_leaves(target):
        if isinstance(leaf, Tensor) and leaf.dim():
            return len(leaf)
    raise PruneError(
        f"a batch's target is {type(target).__name__} without rows, so what its loss counts next to other batches is not known: "
        "give count, a function of the target (`lambda target: 1` where the loss is a sum)"
    )


@contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Put `model` into eval mode with gradients on and autocast off; afterwards all is as before, errors or not.

    "All" is the training flag of every submodule and the global random state of the CPU and of every CUDA device.
    Attention runs on its mathematical kernel, the only one with a double backward.
    """
    with ExitStack() as stack:
        stack.enter_context(random_state_kept())
        stack.enter_context(torch.enable_grad())
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        for device in {"cpu", *(p.device.type for p in model.parameters())}:
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(eval_mode(model))
        yield


def check_batches(batches: Batches) -> None:
    """Raise `PruneError` unless every batch is a pair (tuple of inputs, target)."""
    for index, batch in enumerate(batches):
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[0], tuple | list)):
            shape = (
                type(batch[0]).__name__ if isinstance(batch, tuple | list) and batch else type(batch).__name__
            )
            raise PruneError(
                f"batch {index} is not ((input, ...), target), found {shape}: put the inputs in a tuple"
            )


def widened(value: Any) -> Any:
    """Return a tensor of less than 32 floating-point bits as float32, anything else as it is."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.itemsize < 4:
        return value.float()
    return value


def own_tensors(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Yield (dotted name, the module that owns it, tensor) of every parameter and buffer, once per owner.

    Modules found in several places come under their first name; tensors tied between modules come once for each.
    """
    for prefix, module in model.named_modules():
        for named in (module.named_parameters, module.named_buffers):
            for name, tensor in named(recurse=False, remove_duplicate=False):
                yield f"{prefix}.{name}" if prefix else name, module, tensor


class Scoring:
    """A model at its masked weights, as a pruning method sees it.

    The model's own parameters are neither written nor differentiated: everything here works on detached stand-ins.

    Attributes:
        model: the model, in eval mode; not to be changed.
        names: dotted names of the prunable layers, in module order.
        weights: one leaf [out, in] per name that requires grad: a copy of the layer's weight, zero where it is pruned; at
            least float32; free to be changed. A method returns one tensor of scores per weight, of the same shape, higher =
            kept.
        batches: as given to `prune.score`.
        generator: source of random numbers, or None for the global one.
        batch_weights: what each batch's loss counts for: its items times the number of batches, by the items of all. So
            one batch of all rows and any other batches of them have the same scores but for rounding and the number of
            batches; batches of equal size count 1 each.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[[Any, Any], Tensor],
        batches: Batches,
        linears: Mapping[str, nn.Linear],
        masks: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        count: Count = rows,
    ) -> None:
        self.model = model
        self.names = list(linears)
        self.batches = batches
        self.generator = generator
        self._masks = [masks[name] for name in self.names]
        self.weights = [
            widened(linear.weight.detach()).where(mask, 0).requires_grad_()
            for linear, mask in zip(linears.values(), self._masks, strict=True)
        ]
        self._count = count
        self._loss = _Loss(model, loss_fn)
        self._constants = {name: widened(tensor.detach()) for name, _, tensor in own_tensors(self._loss)}

    @cached_property
    def batch_weights(self) -> list[float]:
        # when it is read: a method that takes no losses needs no batch that can be counted, nor is one batch alone to be weighed
        if len(self.batches) == 1:
            return [1.0]
        counts = [_number(index, self._count(target)) for index, (_, target) in enumerate(self.batches)]
        total = sum(counts)
        if counts and not total:
            raise PruneError(f"the targets of {len(counts)} batches have nothing to learn from: give others")
        return [count * len(counts) / total for count in counts]

    def losses(self, temperature: float = 1.0) -> Iterator[Tensor]:
        """Yield `loss_fn(model(*inputs) / temperature, target)` of each batch, times its weight, differentiable in `weights`.

        Raises:
            PruneError: there is no batch, or a loss that does not depend on any prunable weight.
        """
        if not self.batches:
            raise PruneError(
                "this method scores with data and got no batches: give at least one (inputs, target)"
            )
        for index, ((inputs, target), weight) in enumerate(
            zip(self.batches, self.batch_weights, strict=True)
        ):
            if not weight:  # a mean over nothing is not a number
                continue
            # the mask stands between leaf and model so that pruned weights get a gradient of zero
            masked = (w.where(m, 0) for w, m in zip(self.weights, self._masks, strict=True))
            tensors = self._constants | dict(zip(map(_Loss.weight_name, self.names), masked, strict=True))
            arguments = (tuple(map(widened, inputs)), widened(target), temperature)
            loss = functional_call(self._loss, tensors, arguments, tie_weights=False)
            if not loss.requires_grad:
                raise PruneError(
                    f"the loss of batch {index} does not depend on any prunable weight: nothing to score"
                )
            yield loss if weight == 1 else loss * weight

    def gradient(self, temperature: float = 1.0) -> list[Tensor]:
        """Return the gradient of the summed `losses`, one detached tensor per weight."""
        total = [torch.zeros_like(w) for w in self.weights]
        for loss in self.losses(temperature):
            _add(total, torch.autograd.grad(loss, self.weights, materialize_grads=True))
        return total

    def hessian_product(self, vectors: Sequence[Tensor], temperature: float = 1.0) -> list[Tensor]:
        """Return the Hessian of the summed losses times `vectors`, one detached tensor per weight.

        One double backward per batch: the derivative of <vectors, gradient>, with the vectors held constant.
        """
        total = [torch.zeros_like(w) for w in self.weights]
        for loss in self.losses(temperature):
            gradient = torch.autograd.grad(loss, self.weights, create_graph=True, materialize_grads=True)
            # devices may differ from layer to layer
            dots = [(g * v).sum().to(loss.device) for g, v in zip(gradient, vectors, strict=True)]
            product = torch.stack(dots).sum()
            # where the loss is linear in the weights, the gradient is constant and the Hessian zero
            if product.requires_grad:
                _add(total, torch.autograd.grad(product, self.weights, materialize_grads=True))
        return total


def _number(index: int, count: float | Tensor) -> float:
    """A batch's count as Python's number, integers as integers: equal ones then weigh exactly 1."""
    number = count.item() if isinstance(count, Tensor) else count
    if not (math.isfinite(number) and number >= 0):
        raise PruneError(f"the count of batch {index} is {number}: give a finite number from 0 upwards")
    return number


class _Loss(nn.Module):
    """Model and loss in one module, so that a loss that reads the model's weights sees the stand-ins too."""

    def __init__(self, model: nn.Module, loss_fn: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, inputs: tuple[Any, ...], target: Any, temperature: float) -> Tensor:
        output = self.model(*inputs)
        return self.loss_fn(output if temperature == 1 else output / temperature, target)

    @staticmethod
    def weight_name(layer: str) -> str:
        return ".".join(filter(None, ("model", layer, "weight")))


def _add(total: list[Tensor], terms: Sequence[Tensor]) -> None:
    for t, term in zip(total, terms, strict=True):
        t.add_(term.detach())
