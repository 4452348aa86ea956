"""How many weights are kept, exactly, and which."""

import math
from fractions import Fraction

import pytest
import torch

from prune.errors import PruneError
from prune.masks import Score, kept_weights, schedule_counts, select, shuffled


@pytest.mark.parametrize(
    ("total", "compression", "kept"),
    [
        (256, 0, 256),
        (256, 0.1, 203),  # 256 * 0.79433 = 203.35
        (256, 0.5, 80),  # 256 * 0.31623 = 80.95
        (256, 1, 25),
        (256, 2, 2),
        (256, 3, 0),
        (100, 2, 1),  # 10.0**-2 * 100 is 1.0, but 1 - 0.99 style densities would give 0
        (1000, 3, 1),
        (30, 1, 3),
        (100, -math.log10(0.5), 50),
        (10, -math.log10(0.3), 3),
        (10, 400, 0),
        (10, 1e300, 0),
    ],
)
def test_kept_weights_of_known_cases(total: int, compression: float, kept: int) -> None:
    assert kept_weights(total, compression) == kept


@pytest.mark.parametrize("compression", [0.1, 0.25, 0.5, 1.5, 2.75])
def test_kept_weights_is_the_floor_in_whole_number_arithmetic(compression: float) -> None:
    # k <= N 10^(-p/q) is k^q 10^p <= N^q, which integers decide without rounding
    p, q = Fraction(str(compression)).as_integer_ratio()
    for total in [1, 2, 3, 7, 10, 99, 100, 101, 255, 256, 1000, 12_345, 999_983, 30_000_000]:
        kept = kept_weights(total, compression)
        assert kept**q * 10**p <= total**q < (kept + 1) ** q * 10**p


@pytest.mark.parametrize("compression", [1, 2, 3])
def test_kept_weights_of_whole_compressions_is_integer_division(compression: int) -> None:
    assert all(kept_weights(n, compression) == n // 10**compression for n in range(1, 3000))


@pytest.mark.parametrize("compression", [-0.1, float("nan"), float("inf"), float("-inf")])
def test_impossible_compressions_are_named(compression: float) -> None:
    with pytest.raises(PruneError, match=f"compression is {compression}"):
        kept_weights(10, compression)


def test_exponential_schedule_by_hand() -> None:
    # 1000 * 10^(-2/4), 10^-1, 10^(-6/4), 10^-2 = 316.2, 100, 31.6, 10
    assert schedule_counts("exponential", 1000, 2, 4) == [316, 100, 31, 10]


def test_linear_schedule_by_hand() -> None:
    # 990 of 1000 go in four steps of 247.5
    assert schedule_counts("linear", 1000, 2, 4) == [752, 505, 257, 10]


@pytest.mark.parametrize("schedule", ["exponential", "linear"])
@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("compression", [0, 0.1, 0.3, 1, 2])
def test_schedules_only_fall_and_end_exactly(schedule: str, iterations: int, compression: float) -> None:
    counts = schedule_counts(schedule, 256, compression, iterations)
    assert len(counts) == iterations
    assert counts == sorted(counts, reverse=True)
    assert counts[0] <= 256
    assert counts[-1] == kept_weights(256, compression)


def test_bad_schedules_are_named() -> None:
    with pytest.raises(PruneError, match=r"unknown schedule 'linaer' \(did you mean 'linear'\?\)"):
        schedule_counts("linaer", 10, 1, 2)
    with pytest.raises(PruneError, match="iterations is 0"):
        schedule_counts("linear", 10, 1, 0)


def scored(scores):
    return {name: Score(value) for name, value in scores.items()}


def all_true(scores: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}


def test_select_ranks_all_layers_together_and_gives_ties_to_the_first() -> None:
    scores = {"a": torch.tensor([[1.0, 5.0], [3.0, 3.0]]), "b": torch.tensor([[3.0, 4.0]])}
    selected = select(scored(scores), 3, all_true(scores))
    assert [m.tolist() for m in selected.masks] == [[[False, True], [True, False]], [[False, True]]]
    assert (selected.threshold, selected.ties) == (3.0, 3)


def test_select_stays_within_the_masks_it_is_given() -> None:
    scores = {"a": torch.tensor([[1.0, float("nan")]]), "b": torch.tensor([[3.0, 4.0]])}
    within = {"b": torch.tensor([[True, False]]), "a": torch.tensor([[True, False]])}
    selected = select(scored(scores), 1, within)
    assert [m.tolist() for m in selected.masks] == [[[False, False]], [[True, False]]]


def test_select_compares_layers_of_different_precision() -> None:
    scores = {"a": torch.tensor([[1.0]]), "b": torch.tensor([[1.0 + 1e-12]], dtype=torch.float64)}
    assert [m.item() for m in select(scored(scores), 1, all_true(scores)).masks] == [False, True]


def test_shuffled_permutes_inside_the_limits() -> None:
    within = torch.arange(400).reshape(20, 20) % 4 != 0
    mask = within & (torch.arange(400).reshape(20, 20) < 100)
    generator = torch.Generator().manual_seed(0)
    permuted = shuffled(mask, within, generator)
    assert permuted.sum() == mask.sum() == 75
    assert not (permuted & ~within).any()
    # 75 of 300 places: about 19 of the kept stay where they were
    assert 5 < (permuted & mask).sum() < 40
    assert not torch.equal(permuted, shuffled(mask, within, generator))
    assert torch.equal(permuted, shuffled(mask, within, torch.Generator().manual_seed(0)))
