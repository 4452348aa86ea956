"""Whatever stops a job in the middle, its run goes on from the checkpoint and ends as if nothing had happened."""

import pytest
from cluster import wait_for
from conftest import LONG

pytestmark = pytest.mark.slurm


def test_requeued_killed_cancelled_preempted(sweeps, undisturbed):
    """Five sweeps at a time, each disturbed in its own way once it has a checkpoint."""
    names = ("requeued", "warned", "killed", "cancelled", "preempted")
    for name in names:
        sweeps.launch(name, LONG, profile={"partition": "low"} if name == "preempted" else None)
    for name in names:
        sweeps.wait_for_checkpoint(name)
    jobs = {name: sweeps.active(name)[0][0] for name in names}

    sweeps.cluster.ask("scontrol", "requeue", jobs["requeued"])
    # what Slurm does before a time limit; it takes the job for running
    sweeps.cluster.ask("scancel", "--signal=USR2", jobs["warned"])
    sweeps.kill_run("killed")
    cancelled = sweeps.work.sweep("cancel", "cancelled", timeout=300)
    assert cancelled.stdout.splitlines()[-1] == "1 jobs cancelled", cancelled.stderr
    assert sweeps.active("cancelled") == []
    assert sweeps.states("cancelled") == ["interrupted"]
    # three nodes of eight: what asks for all processors in a higher partition makes room for itself
    urgent = ["-p", "high", "-N", "3", "--ntasks-per-node=8", "-t", "1"]
    sweeps.cluster.ask("sbatch", *urgent, "-o", "/dev/null", "--wrap", "sleep 5")

    sweeps.wait_until_gone("killed")
    assert sweeps.states("killed") == ["interrupted"]
    assert "SIGKILL" in next(iter(sweeps.status("killed").values()))["detail"]
    for name in ("cancelled", "killed"):
        assert "1 runs submitted" in sweeps.launch(name, LONG)
    for name in names:
        sweeps.wait_until_gone(name)
    for name in names:
        assert sweeps.states(name) == ["done"], f"{name}: {sweeps.log(name)}"
        assert sweeps.science(name) == undisturbed, name
        (row,) = sweeps.rows(name)
        assert row["resumed"] >= 1, f"{name} began anew: {sweeps.log(name)}"
    assert "put itself back" in sweeps.log("warned")
    for name in ("requeued", "warned", "preempted"):
        assert len(sweeps.tokens(name)) == 1, "the job itself went on, not a launch"


def test_what_was_warned_and_then_cancelled_stays_down(sweeps):
    sweeps.launch("stay", LONG)
    sweeps.wait_for_checkpoint("stay")
    ((job, _),) = sweeps.active("stay")
    # the controller is stopped between warning and cancellation, so that both are there when the job asks what to do
    sweeps.cluster.ask("scancel", "--signal=STOP", job)
    sweeps.cluster.ask("scancel", "--signal=USR2", job)
    sweeps.cluster.ask("scancel", job)
    sweeps.wait_until_gone("stay")
    assert sweeps.states("stay") == ["interrupted"]
    assert wait_for("the end of the attempt", lambda: not sweeps.active("stay"))


def test_a_second_copy_leaves_a_run_alone(sweeps, undisturbed):
    """A local launch beside the job waits for it; a foreign job for the same run ends at once."""
    sweeps.launch("twice", LONG)
    sweeps.wait_for_checkpoint("twice")
    said = sweeps.launch("twice", LONG)
    assert "0 runs submitted, 1 complete or left alone" in said
    local = sweeps.launch("twice", LONG, "--local", code=3)
    assert "1 running" in local
    assert len(list(sweeps.run("twice").attempts.glob("*.json"))) == 1
    sweeps.wait_until_gone("twice")
    assert sweeps.science("twice") == undisturbed
