"""The pruning methods: a score for each weight. Higher scores are kept, whatever the method."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from prune.errors import PruneError, check_known
from prune.linear_form import synaptic_flow
from prune.masked_linear import MaskedLinear, prunable_linears
from prune.masks import Score
from prune.scoring_context import Batches, Count, Scoring, check_batches, rows, scoring_mode


class Products(NamedTuple):
    """Scores that are `factors[i] * weights[i]`, left to the selection to multiply, so that they are never stored."""

    factors: list[Tensor]
    weights: list[Tensor]


ScoreFunction = Callable[[Scoring], list[Tensor] | Products]


@dataclass(frozen=True)
class Method:
    """A registered method.

    name, function: what it is registered as.
    iterations: how many rounds of score and prune it takes by default.
    data: whether it reads the batches; without, at most the shapes of the first one matter, and one sample is enough.
    """

    name: str
    function: ScoreFunction
    iterations: int = 1
    data: bool = True


METHODS: dict[str, Method] = {}


def method(name: str, *, iterations: int = 1, data: bool = True) -> Callable[[ScoreFunction], ScoreFunction]:
    """Register the decorated function `f(scoring) -> [scores of each of scoring.weights]` under `name`; see `Method`.

    Where the scores are products, the function may return their factors as `Products`.

    Raises:
        PruneError: the name is not a string or taken, or there are fewer than one iteration.
    """
    if not isinstance(name, str):
        raise PruneError(f'pruning method {name!r}: its name is not a string: write @method("name")')
    if name in METHODS:
        raise PruneError(f"pruning method '{name}' is registered already: choose another name")
    if iterations < 1:
        raise PruneError(f"pruning method '{name}' has iterations={iterations}: give 1 or more")

    def register(function: ScoreFunction) -> ScoreFunction:
        METHODS[name] = Method(name, function, iterations, data)
        return function

    return register


def get_method(name: str) -> Method:
    """Return the method registered under `name`; `PruneError` with the nearest known name if there is none."""
    check_known("pruning method", name, METHODS)
    return METHODS[name]


@method("random", data=False)
def random(scoring: Scoring) -> list[Tensor]:
    """One uniform draw per weight, made on the generator's device (the CPU if there is none): no data, no weights."""
    source = scoring.generator
    device = source.device if source is not None else torch.device("cpu")
    draws = [torch.rand(w.shape, generator=source, device=device, dtype=w.dtype) for w in scoring.weights]
    return [draw.to(w.device) for draw, w in zip(draws, scoring.weights, strict=True)]


@method("magnitude", data=False)
def magnitude(scoring: Scoring) -> list[Tensor]:
    """|w|, of the weights as they are: no data (Han et al. 2015, here at initialisation)."""
    return [w.abs() for w in scoring.weights]


@method("snip")
def snip(scoring: Scoring) -> list[Tensor]:
    """|w * dL/dw|, L the weighted sum over the batches: how much the loss feels the weight (Lee et al. 2019)."""
    return [(w * g).abs() for w, g in zip(scoring.weights, scoring.gradient(), strict=True)]


@method("grasp")
def grasp(scoring: Scoring) -> Products:
    """w * (H g) at temperature 200 (Wang et al. 2020, GraSP), g and H of the weighted sum of the batches' losses.

    Removing a weight changes |g|^2 by -2 w (H g) to first order, so the lowest go: the gradient flow shrinks least, or grows.
    """
    gradient = scoring.gradient(temperature=200)
    return Products(scoring.hessian_product(gradient, temperature=200), scoring.weights)


@method("synflow", iterations=100, data=False)
def synflow(scoring: Scoring) -> Products:
    """|w| * dR/d|w|, R the outputs' sum for an input of ones (Tanaka et al. 2020); in float64."""
    weights = [w.detach().abs().double().requires_grad_() for w in scoring.weights]
    flow = synaptic_flow(scoring.model, scoring.batches, dict(zip(scoring.names, weights, strict=True)))
    return Products(list(torch.autograd.grad(flow, weights, materialize_grads=True)), weights)


def score(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Batches,
    method: str,
    *,
    skip: Collection[str] = (),
    generator: torch.Generator | None = None,
    count: Count = rows,
) -> dict[str, Tensor]:
    """Return the scores of `method` for every prunable weight, {dotted layer name: scores}, higher = keep; change nothing.

    The model is scored in eval mode without autocast, at its masked weights where layers are masked already. Training
    flags, gradients and the global random state are as before afterwards, whatever happens.

    Args:
        model: with linear layers, plain or masked.
        loss_fn: `loss_fn(model(*inputs), target)` is a scalar, the mean over the items of a batch.
        batches: sequence of `((input, ...), target)`; may be empty for methods that need no data, SynFlow needs one.
        method: a name in `METHODS`.
        skip: dotted names of submodules to leave alone.
        generator: for methods that draw random numbers; None: the global one, whose state stays as it is.
        count: of a target, the number of those items, by which a batch's loss is weighted (see `Scoring.batch_weights`): its
            rows, unless the loss is a mean over something else, or a sum (`lambda target: 1`).

    Returns:
        Scores of the shape and dtype of the layer's weight [out, in], without gradient.

    Raises:
        PruneError (a ValueError): an unknown method, nothing to prune, malformed or missing batches, NaN scores, a method
            that changes the model's weights.
    """
    chosen = get_method(method)
    linears = linears_to_prune(model, skip)
    batches = tuple(batches)
    masks = current_masks(linears)
    with scoring_mode(model):
        scores = masked_scores(
            chosen, model, loss_fn, batches, linears, masks, generator=generator, count=count
        )
    check_nan(chosen, scores, masks)
    return {name: s.value.to(linears[name].weight.dtype) for name, s in scores.items()}


def linears_to_prune(model: nn.Module, skip: Collection[str]) -> dict[str, nn.Linear]:
    """Return `prunable_linears(model, skip)`; `PruneError` if there is none, or none with a weight."""
    linears = prunable_linears(model, skip)
    if not any(linear.weight.numel() for linear in linears.values()):
        raise PruneError(f"{type(model).__name__} has no nn.Linear left to prune (skip: {list(skip)})")
    return linears


def current_masks(linears: Mapping[str, nn.Linear]) -> dict[str, Tensor]:
    """Return a copy of each layer's mask; all true for a plain `nn.Linear`."""
    return {
        name: linear.weight_mask.clone()
        if isinstance(linear, MaskedLinear)
        else torch.ones_like(linear.weight, dtype=torch.bool)
        for name, linear in linears.items()
    }


def masked_scores(
    method: Method,
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Batches,
    linears: Mapping[str, nn.Linear],
    masks: Mapping[str, Tensor],
    *,
    generator: torch.Generator | None,
    count: Count,
) -> dict[str, Score]:
    """Return the scores of the network masked by `masks`, as the method computed them; inside `scoring_mode` only.

    Raises:
        PruneError: a method that returns anything but scores of the right shapes, or changes the model's weights.
    """
    check_batches(batches)
    scoring = Scoring(model, loss_fn, batches, linears, masks, generator, count)
    # the method may do with scoring.weights what it likes, so they do not tell what the weights were
    before = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    returned = method.function(scoring)
    _check_unchanged(method, linears, before)
    for scores in returned if isinstance(returned, Products) else [returned]:
        _check_returned(method, scores, scoring.weights)
    factors, weights = returned if isinstance(returned, Products) else (returned, None)
    return {
        name: Score(factor.detach(), weights[i].detach() if weights is not None else None)
        for i, (name, factor) in enumerate(zip(scoring.names, factors, strict=True))
    }


def _check_returned(method: Method, scores: Any, weights: Sequence[Tensor]) -> None:
    """Raise `PruneError` unless `scores` are one float tensor for each of `weights`, of its shape."""
    wanted = "return a list of one float tensor of scores per weight tensor, of the same shape"
    if not isinstance(scores, list | tuple):
        raise PruneError(f"pruning method '{method.name}' returned {_kind(scores)}: {wanted}")
    for found in scores:
        if not (isinstance(found, Tensor) and found.is_floating_point()):
            raise PruneError(f"pruning method '{method.name}' returned a list with {_kind(found)}: {wanted}")
    shapes, expected = ([tuple(t.shape) for t in tensors] for tensors in (scores, weights))
    if shapes != expected:
        raise PruneError(
            f"pruning method '{method.name}' returned scores of shapes {shapes}: return one per weight, {expected}"
        )


def _kind(value: Any) -> str:
    """What an unwanted value is: its type, and what a tensor has in it."""
    kind = "None" if value is None else type(value).__name__
    return f"{kind} of {value.dtype}" if isinstance(value, Tensor) else kind


def _check_unchanged(method: Method, linears: Mapping[str, nn.Linear], before: Mapping[str, Tensor]) -> None:
    """Raise `PruneError` for the first layer whose weight differs from `before` in any bit: training would start from another."""
    for name, linear in linears.items():
        now, then = linear.weight.detach(), before[name]
        if (now.dtype, now.device) != (then.dtype, then.device) or not torch.equal(_bits(now), _bits(then)):
            raise PruneError(
                f"pruning method '{method.name}' changed the model's weights (layer '{name}'); work on scoring.weights"
            )


def _bits(tensor: Tensor) -> Tensor:
    """The tensor as integers: what a pruned weight holds may be NaN, which is not equal to itself."""
    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize])


def check_nan(method: Method, scores: Mapping[str, Score], masks: Mapping[str, Tensor]) -> None:
    """Raise `PruneError` if there is a NaN under a true mask; it names the first such layer."""
    for name, s in scores.items():
        if (s.value.isnan() & masks[name]).any():
            raise PruneError(
                f"pruning method '{method.name}' gives NaN in layer '{name}': check weights, data and loss"
            )
