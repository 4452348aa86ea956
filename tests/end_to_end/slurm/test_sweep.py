"""A sweep from the launch command to the report, on a real Slurm."""

import pytest

pytestmark = pytest.mark.slurm

GRID = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0, 1, 2]}


def test_a_grid_runs_to_its_report_and_is_not_submitted_twice(sweeps, undisturbed):
    """Three runs in arrays of two and one, from the snapshot, in a directory with a quote and a space."""
    said = sweeps.launch("mine", GRID, "--wait")
    assert "3 runs submitted" in said
    assert "3 runs: 3 done" in said
    assert len(sweeps.tokens("mine")) == 2
    assert "0 runs submitted, 3 complete" in sweeps.launch("mine", GRID)
    assert len(sweeps.tokens("mine")) == 2
    assert sweeps.science("mine") == undisturbed(GRID)
    assert {row["attempt"] for row in sweeps.rows("mine")} == {1}
    assert "3 runs submitted" in sweeps.launch("mine", GRID, "--retry", "all")
    assert "0 runs submitted" in sweeps.launch("mine", GRID, "--retry", "all"), "they are on their way"
    sweeps.wait_until_gone("mine")
    assert sweeps.science("mine") == undisturbed(GRID)
    assert {row["attempt"] for row in sweeps.rows("mine")} == {2}


def test_threads_of_a_run_are_cores_of_its_job(sweeps):
    """A run of two threads gets two cores from Slurm and from srun, and computes the same as with two threads elsewhere."""
    grid = GRID | {"tasks": {"toy": {"epochs": 1, "threads": 2}}, "seeds": [0]}
    sweeps.launch("wide", grid, "--wait", profile={"setup": ["echo cores $SLURM_CPUS_PER_TASK"]})
    assert "cores 2" in sweeps.log("wide")
    (script,) = sweeps.work.paths("wide").arrays.glob("*/*_submission.sh")
    assert "srun --unbuffered" in script.read_text()
    assert "--cpus-per-task=2 " in script.read_text().split("srun", 1)[1]
    assert sweeps.rows("wide")[0]["threads"] == 2
    sweeps.launch("wide_here", grid, "--local")
    assert sweeps.science("wide") == sweeps.science("wide_here")
