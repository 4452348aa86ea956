"""The compiled operators against the specification in plain PyTorch, and against numpy, on drawn inputs."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prune import ops, reference

pytestmark = pytest.mark.slow

DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@pytest.fixture(autouse=True, scope="module")
def restore_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def restride(draw: st.DrawFn, t: Tensor) -> Tensor:
    """The same values behind drawn strides: permuted dimensions, gaps between elements."""
    order = draw(st.permutations(range(t.dim())))
    inverse = [order.index(d) for d in range(t.dim())]
    t = t.permute(*order).contiguous().permute(*inverse) if order else t
    if t.dim() and draw(st.booleans()):
        t = t.repeat_interleave(2, -1)[..., ::2]
    return t


@st.composite
def linear_arguments(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    sizes = st.integers(0, 9)
    leading, n_in, n_out = draw(st.lists(sizes, max_size=3)), draw(sizes), draw(sizes)
    dtype, density = draw(DTYPES), draw(st.sampled_from([0, 0.1, 0.5, 0.9, 1]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def normal(*shape: int) -> Tensor:
        return restride(draw, torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype))

    mask = restride(draw, torch.rand(n_out, n_in, generator=generator) < density)
    return normal(*leading, n_in), normal(n_out, n_in), mask, normal(n_out) if draw(st.booleans()) else None


@settings(deadline=None)  # the time of an example says more of the machine than of the code
@given(linear_arguments(), st.integers(1, 4), st.sampled_from([torch.nan, torch.inf, 1e9]))
def test_masked_linear(
    arguments: tuple[Tensor, Tensor, Tensor, Tensor | None], threads: int, junk: float
) -> None:
    torch.set_num_threads(threads)
    x, weight, mask, bias = arguments
    tolerance = 16 * torch.finfo(x.dtype).eps

    def outcome(function: Callable[..., Tensor], weight: Tensor) -> list[Tensor]:
        leaves = [t.detach().requires_grad_() for t in (x, weight, bias) if t is not None]
        y = function(leaves[0], leaves[1], mask, *leaves[2:])
        first = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, materialize_grads=True)
        return [y, *first, *second]

    compiled, scrambled = (
        outcome(ops.masked_linear, weight),
        outcome(ops.masked_linear, weight.masked_fill(~mask, junk)),
    )
    for got, again, want in zip(compiled, scrambled, outcome(reference.masked_linear, weight), strict=True):
        scale = max(1.0, want.abs().max().item()) if want.numel() else 1.0
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * scale)
        assert torch.equal(got, again)
    for gradient in (compiled[2], compiled[-1 if bias is None else -2]):
        assert not gradient[~mask].any()


@st.composite
def selection_arguments(
    draw: st.DrawFn,
) -> tuple[list[Tensor], int, list[Tensor] | None, list[Tensor] | None]:
    shapes = draw(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=5))
    if draw(st.booleans()):
        shapes.append([draw(st.integers(30_000, 140_000))])  # large enough for several threads
    dtype, levels = draw(DTYPES), draw(st.sampled_from([1, 2, 5, 1000, None]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def values(shape: list[int]) -> Tensor:
        if levels is None:
            t = torch.randn(shape, generator=generator, dtype=torch.float64)
        else:  # integers, so that there are ties, and zeros of both signs
            t = torch.randint(-levels, levels + 1, shape, generator=generator).double()
            t = torch.where(torch.rand(shape, generator=generator) < 0.5, t, -t)
        return restride(draw, t.to(dtype))

    scores = [values(shape) for shape in shapes]
    weights = [values(shape) for shape in shapes] if draw(st.booleans()) else None
    within = None
    if draw(st.booleans()):
        within = [restride(draw, torch.rand(shape, generator=generator) < 0.6) for shape in shapes]
    available = sum(int(w.sum()) for w in within) if within is not None else sum(s.numel() for s in scores)
    keep = draw(st.one_of(st.sampled_from([0, available]), st.integers(0, available)))
    return scores, keep, weights, within


@settings(deadline=None)
@given(selection_arguments(), st.integers(1, 4))
def test_global_mask(
    arguments: tuple[list[Tensor], int, list[Tensor] | None, list[Tensor] | None], threads: int
) -> None:
    torch.set_num_threads(threads)
    scores, keep, weights, within = arguments
    got = ops.global_mask(scores, keep, weights=weights, within=within)
    masks, threshold, ties = reference.global_mask(scores, keep, weights=weights, within=within)
    assert all(torch.equal(a, b) for a, b in zip(got.masks, masks, strict=True))
    assert (got.threshold, got.ties) == (threshold, ties)

    products = scores if weights is None else [s * w for s, w in zip(scores, weights, strict=True)]
    flat = np.concatenate([p.double().numpy().ravel() for p in products])
    inside = (
        np.ones(flat.size, bool) if within is None else np.concatenate([w.numpy().ravel() for w in within])
    )
    candidates = inside.nonzero()[0]
    kept = candidates[np.argsort(-flat[candidates], kind="stable")[:keep]]
    assert np.array_equal(np.sort(kept), np.concatenate([m.numpy().ravel() for m in got.masks]).nonzero()[0])


@settings(deadline=None)
@given(selection_arguments(), st.data())
def test_global_mask_counts_nan(
    arguments: tuple[list[Tensor], int, list[Tensor] | None, list[Tensor] | None], data: st.DataObject
) -> None:
    scores, keep, _, _ = arguments
    sizes = [s.numel() for s in scores]
    if not any(sizes):
        return
    index = data.draw(st.sampled_from([i for i, size in enumerate(sizes) if size]))
    count = data.draw(st.integers(1, min(sizes[index], 20)))
    spoilt = [s.clone() for s in scores]
    places = torch.randperm(sizes[index])[:count]
    spoilt[index] = spoilt[index].flatten().index_fill(0, places, torch.nan).view(spoilt[index].shape)
    with pytest.raises(ValueError, match=f"tensor {index} of scores holds {count} NaN"):
        ops.global_mask(spoilt, min(keep, sum(sizes)))
