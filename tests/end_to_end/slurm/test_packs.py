"""Runs that share a job, and the job that tries a launch out, on a real Slurm."""

import pytest
from support.waiting import wait_for

from sweep.executors.slurm.manifest import arrays

pytestmark = pytest.mark.slurm

BROKEN = """
import prune


@prune.method("broken")
def broken(scoring):
    raise ValueError("no scores today")
"""


def test_runs_that_share_a_job_are_as_good_as_alone_and_fail_alone(sweeps):
    plugin = sweeps.file("broken.py", BROKEN)
    grid = {
        "tasks": {"toy": {"epochs": 1}},
        "pruners": ["random", "broken"],
        "compressions": [1],
        "seeds": [0, 1],
    }
    said = sweeps.launch("packed", grid, "--pack", "4", "--plugin", plugin, "--wait", code=1)
    assert "4 runs: 2 done, 2 failed" in said
    assert sweeps.states("packed") == ["done", "done", "failed", "failed"]
    (token,) = sweeps.tokens("packed")
    assert len(sweeps.cluster.jobs(token, "all")) == 1, "four runs in one job"
    failed = [line for line in sweeps.status("packed").values() if line["state"] == "failed"]
    assert all("no scores today" in line["detail"] for line in failed)
    sweeps.launch("alone", grid, "--local", "--plugin", plugin, "--only", "pruner=random")
    assert sweeps.science("packed") == sweeps.science("alone")


def test_a_failing_smoke_test_costs_one_job(sweeps):
    plugin = sweeps.file(
        "broken_too.py", BROKEN.replace("broken", "broken_too")
    )  # commands share this process
    grid = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["broken_too"], "compressions": [1], "seeds": "0-20"}
    said = sweeps.launch("tried", grid, "--pack", "7", "--plugin", plugin, "--wait", code=3)
    assert "a smoke test, which the runs of toy wait for" in said
    assert sweeps.active("tried") == [], "nothing waits for ever"
    lines = sweeps.status("tried").values()
    assert {(line["state"], line["attempts"]) for line in lines} == {("interrupted", 0)}
    assert {line["detail"] for line in lines} == {
        "not started, the smoke test failed: smoke test of toy with broken_too: broken_too.py, line 7: "
        "ValueError: no scores today"
    }


def test_a_task_whose_resources_fail_does_not_hold_up_the_others(sweeps):
    """Each is tried with its own setup, and only its runs depend on that."""
    grid = {
        "tasks": {"toy": {"epochs": 0}, "toy_translation": {"epochs": 0}},
        "pruners": ["random"],
        "compressions": [1],
        "seeds": "0-10",
        "slurm": {"toy_translation": {"setup": ['echo "error: no such GPU"; exit 1']}},
    }
    said = sweeps.launch("split", grid, "--pack", "6", "--wait", code=3)
    assert "a smoke test, which the runs of toy wait for" in said
    assert "a smoke test, which the runs of toy_translation wait for" in said
    lines = sweeps.status("split").values()
    assert {(line["run_id"].partition("-")[0], line["state"], line["detail"]) for line in lines} == {
        ("toy", "done", ""),
        ("toy_translation", "interrupted", "not started, the smoke test failed: no such GPU"),
    }


def test_after_the_smoke_test_the_runs_start(sweeps):
    grid = {"tasks": {"toy": {"epochs": 0}}, "pruners": ["random"], "compressions": [1], "seeds": "0-20"}
    said = sweeps.launch("large", grid, "--pack", "7", "--wait")
    assert "a smoke test, which the runs of toy wait for" in said
    assert sweeps.states("large") == ["done"] * 21


def test_what_is_cancelled_needs_no_smoke_test(sweeps):
    grid = {"tasks": {"toy": {"epochs": 0}}, "pruners": ["random"], "compressions": [1], "seeds": "0-20"}
    with sweeps.partitions_down():
        sweeps.launch("untried", grid, "--pack", "7")
        smoke = [manifest.token for _, manifest in arrays(sweeps.work.paths("untried").smokes)]
        assert len(sweeps.cluster.jobs(",".join(smoke))) == 1
        assert sweeps.command("cancel", "untried")[0] == 0
        wait_for("the end of the smoke test", lambda: not sweeps.cluster.jobs(",".join(smoke)))


def test_a_smoke_test_that_slurm_refuses_is_one_line(sweeps):
    grid = {"tasks": {"toy": {"epochs": 0}}, "pruners": ["random"], "compressions": [1], "seeds": "0-20"}
    said = sweeps.launch("refused", grid, code=2, profile={"partition": "nowhere"})
    assert "Slurm rejects the smoke test of toy: sbatch: error: invalid partition specified: nowhere" in said
    assert sweeps.states("refused") == ["pending"] * 21
