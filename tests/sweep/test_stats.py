"""Statistics over seeds, against SciPy and by hand."""

import pytest
from scipy import stats as scipy_stats

from sweep.stats import Summary, cells, paired_differences, summarise


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
