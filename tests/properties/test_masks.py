"""Counts and masks over many shapes, compressions and schedules."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import prune
from prune.masks import Score, kept_weights, schedule_counts, select, shuffled

pytestmark = pytest.mark.slow

TENTHS = st.integers(0, 60).map(lambda n: Fraction(n, 10))


@given(total=st.integers(1, 10**10), compression=TENTHS)
def test_kept_is_the_floor(total: int, compression: Fraction) -> None:
    p, q = compression.as_integer_ratio()
    kept = kept_weights(total, float(compression))
    assert kept**q * 10**p <= total**q < (kept + 1) ** q * 10**p


@given(
    total=st.integers(1, 10**6),
    compression=st.floats(0, 7),
    iterations=st.integers(1, 120),
    schedule=st.sampled_from(["exponential", "linear"]),
)
def test_schedules_fall_to_the_count(total: int, compression: float, iterations: int, schedule: str) -> None:
    counts = schedule_counts(schedule, total, compression, iterations)
    assert len(counts) == iterations
    assert total >= counts[0]
    assert all(a >= b >= 0 for a, b in pairwise(counts))
    assert counts[-1] == kept_weights(total, compression)


@given(st.data())
def test_select_keeps_the_count_inside_the_limits_and_nothing_better_is_left_out(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    # few values, so that ties are the rule
    values = st.sampled_from([float("-inf"), -1.0, -0.0, 0.0, 1.0, 2.0, float("inf")])
    scores = {
        str(i): torch.tensor(data.draw(st.lists(values, min_size=n, max_size=n))) for i, n in enumerate(sizes)
    }
    flags = {str(i): data.draw(st.lists(st.booleans(), min_size=n, max_size=n)) for i, n in enumerate(sizes)}
    within = {name: torch.tensor(f, dtype=torch.bool) for name, f in flags.items()}
    allowed = [
        (-s, place)
        for place, (s, w) in enumerate(
            (s, w) for n in scores for s, w in zip(scores[n].tolist(), flags[n], strict=True)
        )
        if w
    ]
    keep = data.draw(st.integers(0, len(allowed)))
    masks = select({name: Score(s) for name, s in scores.items()}, keep, within).masks
    kept = torch.cat(masks).nonzero().flatten().tolist()
    assert kept == sorted(place for _, place in sorted(allowed)[:keep])


@given(st.integers(0, 2**31), st.integers(1, 200), st.floats(0, 1), st.floats(0, 1))
def test_shuffled_keeps_counts_and_limits(seed: int, size: int, limit: float, density: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    within = torch.rand(size, generator=generator) < limit
    mask = within & (torch.rand(size, generator=generator) < density)
    permuted = shuffled(mask, within, generator)
    assert permuted.sum() == mask.sum()
    assert not (permuted & ~within).any()


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    method=st.sampled_from(["random", "magnitude", "snip", "grasp", "synflow"]),
    density=st.floats(0.02, 1),
    iterations=st.integers(1, 5),
    schedule=st.sampled_from(["exponential", "linear"]),
    shuffle=st.booleans(),
    invert=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_prune_model_keeps_the_count(
    widths, method, density, iterations, schedule, shuffle, invert, seed
) -> None:
    torch.manual_seed(seed)
    pairs = list(pairwise(widths))
    model = nn.Sequential(*(m for i, o in pairs for m in (nn.Linear(i, o), nn.ReLU())))
    total = sum(i * o for i, o in pairs)
    compression = min(-torch.tensor(density).log10().item(), torch.tensor(total).log10().item()) + 0.0
    batches = [((torch.randn(3, widths[0]),), torch.zeros(3, dtype=torch.long))]
    options = {"iterations": iterations, "schedule": schedule, "shuffle": shuffle, "invert": invert}
    if kept_weights(total, compression) == 0:
        return
    report = prune.prune_model(model, functional.cross_entropy, batches, method, compression, **options)
    masks = [m.weight_mask for m in model if isinstance(m, prune.MaskedLinear)]
    assert sum(int(m.sum()) for m in masks) == report.kept == kept_weights(total, compression)
