"""Statistics over seeds, against SciPy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sweep.report.stats import (
    Summary,
    cells,
    drop_from_dense,
    holm,
    paired_differences,
    sign_flip_p,
    smallest_p,
    summarise,
)


def row(pruner, compression, seed, value):
    return {"pruner": pruner, "compression": compression, "seed": seed, "test_metric": value}


def test_the_interval_is_scipys():
    values = [91.2, 90.7, 91.9, 90.1]
    low, high = scipy_stats.t.interval(0.95, 3, loc=scipy_stats.tmean(values), scale=scipy_stats.sem(values))
    found = summarise(values)
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx(
        (low, high), rel=1e-12
    )
    assert found.n == 4


def test_one_seed_has_no_interval():
    assert summarise([3.0]) == Summary(3.0, None, (3.0,))


def test_dense_runs_count_for_every_pruner_and_missing_values_for_none():
    rows = [row("dense", 0.0, 0, 90.0), row("random", 1.0, 0, 80.0), row("random", 1.0, 1, None)]
    found = cells(rows, "test_metric", ["random", "grasp"])
    assert {key: (summary.mean, summary.n) for key, summary in found.items()} == {
        ("random", 0.0): (90.0, 1),
        ("grasp", 0.0): (90.0, 1),
        ("random", 1.0): (80.0, 1),
    }


def test_differences_are_paired_by_seed():
    rows = [
        row("grasp", 1.0, 0, 5.0), row("random", 1.0, 0, 3.0),
        row("grasp", 1.0, 1, 9.0), row("random", 1.0, 1, 5.0),
        row("grasp", 1.0, 2, 100.0),  # no partner
        row("random", 2.0, 0, 1.0),
    ]  # fmt: skip
    found = paired_differences(rows, "test_metric", "grasp", "random")
    # differences 2 and 4: mean 3, s = sqrt(2), s / sqrt(2) = 1, t(0.975, 1) = 12.706
    assert list(found) == [1.0]
    assert (found[1.0].mean, found[1.0].n) == (3.0, 2)
    assert found[1.0].half_width == pytest.approx(12.7062, abs=1e-4)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 11])
def test_the_sign_flip_test_is_scipys(n):
    differences = np.random.default_rng(n).normal(0.4, 1, n).round(3)
    found = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_p(differences) == pytest.approx(found.pvalue, abs=1e-12)


def test_the_sign_flip_test_by_hand():
    # sums of ±1 ±2 ±4: all eight differ, ±7 are the farthest
    assert sign_flip_p([1.0, 2.0, 4.0]) == 0.25 == smallest_p(3)
    # -1 + 2 + 4 = 5: ±7 and ±5 are as far
    assert sign_flip_p([-1.0, 2.0, 4.0]) == 0.5
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    # 0.1 + 0.2 is not 0.3 in floating point, but the sums 0.3 and -0.3 count as equally far
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    # ten equal differences: two of 1024 assignments
    assert sign_flip_p([0.5] * 10) == 2 / 1024 == smallest_p(10)
    assert sign_flip_p([1.0] * 40) == pytest.approx(2.0**-39)


@pytest.mark.parametrize("n", [0, 41])
def test_the_sign_flip_test_says_what_it_takes(n):
    with pytest.raises(ValueError, match=f"{n} differences; the exact test takes 1 to 40"):
        sign_flip_p([1.0] * n)


def test_holms_correction_by_hand():
    # sorted 0.01 0.02 0.03 0.5: times 4, 3, 2, 1; 0.06 stays 0.06 for the next
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_drops_from_dense_are_paired_by_seed():
    rows = [
        row("dense", 0.0, 0, 90.0),
        row("dense", 0.0, 1, 92.0),
        row("grasp", 1.0, 1, 91.0),
        row("grasp", 1.0, 2, 9.0),
    ]
    assert drop_from_dense(rows, "test_metric", "grasp")[1.0].values == (-1.0,)


def test_an_interval_contains_or_does_not_or_is_none():
    # 2 and 4: 3 ± 12.7
    assert [summarise([2.0, 4.0]).contains(value) for value in (-9.0, -10.0)] == [True, False]
    assert summarise([3.0]).contains(3.0) is None


def test_where_one_more_run_would_lie_by_hand():
    # 2 and 4: s = sqrt(2), t(0.975, 1) = 12.706: 3 ± 12.706 * 1.4142 * sqrt(1.5) = 3 ± 22.007
    assert [summarise([2.0, 4.0]).foresees(value) for value in (25.0, -19.0, 25.01, -19.01)] == [
        True,
        True,
        False,
        False,
    ]
    assert summarise([3.0]).foresees(3.0) is None


def test_where_one_more_run_would_lie_holds_so_often():
    draw = np.random.default_rng(0)
    runs = draw.normal(size=(4000, 5))
    # 95 % of 4000, give or take three deviations of a count
    assert abs(sum(summarise(list(seen)).foresees(last) for *seen, last in runs) - 3800) < 3 * math.sqrt(
        4000 * 0.05 * 0.95
    )
