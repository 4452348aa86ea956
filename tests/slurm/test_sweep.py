"""A sweep from the launch command to the report, on a real Slurm."""

import pytest
from workplace import ROOT

pytestmark = pytest.mark.slurm

GRID = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random", "grasp"], "compressions": [1], "seeds": [0, 1]}


def test_a_grid_runs_to_its_report_and_is_not_submitted_twice(sweeps):
    """Four runs in arrays of three and one, from the snapshot, in a folder with a quote and a space."""
    said = sweeps.launch("mine", GRID, "--wait")
    assert "4 runs submitted" in said
    assert "4 runs: 4 done" in said
    assert len(sweeps.tokens("mine")) == 2
    assert sweeps.states("mine") == ["done"] * 4
    again = sweeps.launch("mine", GRID, "--wait")
    assert "0 runs submitted, 4 complete" in again
    assert len(sweeps.tokens("mine")) == 2
    local = sweeps.launch("local", GRID, "--local")
    assert "4 runs: 4 done" in local
    assert sweeps.science("mine") == sweeps.science("local")
    rows = sweeps.rows("mine")
    assert {row["attempt"] for row in rows} == {1}
    # the copy has no repository, and yet the row names the commit of what was copied
    assert {row["git_sha"] for row in rows} == {row["git_sha"] for row in sweeps.rows("local")}
    assert (ROOT / ".git").exists() == (rows[0]["git_sha"] is not None)
