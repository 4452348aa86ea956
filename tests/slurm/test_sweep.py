"""A sweep from the launch command to the report, on a real Slurm."""

import pytest

pytestmark = pytest.mark.slurm

GRID = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0, 1, 2]}


def test_a_grid_runs_to_its_report_and_is_not_submitted_twice(sweeps, undisturbed):
    """Three runs in arrays of two and one, from the snapshot, in a folder with a quote and a space."""
    said = sweeps.launch("mine", GRID, "--wait")
    assert "3 runs submitted" in said
    assert "3 runs: 3 done" in said
    assert len(sweeps.tokens("mine")) == 2
    assert "0 runs submitted, 3 complete" in sweeps.launch("mine", GRID)
    assert len(sweeps.tokens("mine")) == 2
    assert sweeps.science("mine") == undisturbed(GRID)
    assert {row["attempt"] for row in sweeps.rows("mine")} == {1}
