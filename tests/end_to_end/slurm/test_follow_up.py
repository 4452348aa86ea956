"""The job of a launch that retries runs unattended, on a real Slurm."""

import json
import subprocess

import pytest
from support.onslurm import SLOW, SLOW_TOY
from support.waiting import wait_for

pytestmark = pytest.mark.slurm

HUNGRY = """
import os

import torch

import prune


@prune.method("hungry", data=False)
def hungry(scoring):
    first = os.environ["SWEEP_TEST_GO"] + ".hungry"
    if not os.path.exists(first):
        open(first, "w").close()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return [torch.ones_like(weight) for weight in scoring.weights]
"""


def test_a_follow_up_job_tries_again_what_may_succeed(sweeps):
    """One run ends by running out of GPU memory and is done by the job that follows; one ends by an exception and is not."""
    plugin = sweeps.file("hungry.py", HUNGRY)
    bug = sweeps.file(
        "bug.py", "import prune\n\n\n@prune.method('bug')\ndef bug(scoring):\n    raise ValueError('no')\n"
    )
    grid = {"tasks": {"toy": {"epochs": 0}}, "pruners": ["hungry", "bug"], "compressions": [1], "seeds": [0]}
    said = sweeps.launch("unattended", grid, "--auto-retry", "--plugin", plugin, "--plugin", bug)
    assert "retries what another job may finish" in said
    states = {"done", "failed"}
    wait_for("the retry", lambda: set(sweeps.states("unattended")) == states, 300)
    (row,) = sweeps.rows("unattended")
    assert (row["pruner"], row["attempt"], row["retries"]) == ("hungry", 2, 1)
    assert "out of GPU memory" in json.loads(row["retry_history"])[0]["error"]
    assert len(sweeps.tokens("unattended")) == 2
    # the second follow-up job finds nothing to do, and no third one comes
    wait_for("the last follow-up", lambda: sweeps.follow_ups("unattended") == ["0001", "0002"], 60)
    wait_for("its end", lambda: not sweeps.cluster.jobs(states="PD,R,CG"), 120)
    assert sweeps.follow_ups("unattended") == ["0001", "0002"]
    assert [line["attempts"] for line in sweeps.status("unattended").values()] == [2, 1]


def test_what_is_cancelled_is_not_followed_up(sweeps):
    sweeps.launch("over", SLOW, *SLOW_TOY, "--auto-retry")
    sweeps.wait_for_checkpoint("over")
    assert len(sweeps.cluster.jobs(states="PD")) == 1
    assert sweeps.command("cancel", "over")[0] == 0
    assert sweeps.cluster.jobs(states="PD") == []


@pytest.mark.long
def test_runs_of_a_failed_node_are_retried_without_a_launch(own_cluster, sweeps_on, undisturbed):
    """Its job may not be requeued: the follow-up job submits the run again, elsewhere."""
    cluster = own_cluster()
    on = sweeps_on(cluster)
    on.launch("alone", SLOW, *SLOW_TOY, "--auto-retry", profile={"requeue": "false"})
    on.wait_for_checkpoint("alone")
    node, job = cluster.ask("squeue", "-h", "-n", on.tokens("alone")[0], "-o", "%N %A").split()
    # what runs on a failing node ends before it can report to Slurm
    cluster.script("node-kill", node)
    subprocess.run(["pkill", "-KILL", "-f", rf"slurmstepd: \[{job}\."], check=True)
    on.kill_task("alone", with_run=True)
    wait_for("another job", lambda: len(on.tokens("alone")) == 2, 600)
    on.go()
    on.wait_until_ended("alone", "done")
    assert on.science("alone") == undisturbed(SLOW)
    (row,) = on.rows("alone")
    assert (row["retries"], row["resumed"] >= 1) == (1, True)
    down = cluster.ask("sinfo", "-h", "-N", "-t", "down", "-o", "%N").split()  # a line for each partition
    assert set(down) == {node}
