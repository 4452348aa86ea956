"""Whatever stops a job in the middle, its run resumes from the checkpoint and ends as if nothing had happened."""

import pytest
from support.onslurm import SLOW, SLOW_TOY
from support.waiting import wait_for

pytestmark = pytest.mark.slurm


def test_requeued_warned_killed_orphaned_cancelled_preempted(sweeps, undisturbed):
    """Six sweeps at a time, each disturbed in its own way as soon as it has a checkpoint."""
    ask = sweeps.cluster.ask

    def preempt(_):  # a job in a higher partition that wants all of the node
        where = ["-p", "high", "-w", "node3", "-N", "1", "-n", "8", "-t", "1", "-o", "/dev/null"]
        ask("sbatch", *where, "--wrap", "sleep 1")

    strikes = {
        "requeued": lambda job: ask("scontrol", "requeue", job),
        "warned": lambda job: ask("scancel", "--signal=USR2", job),  # as Slurm does before a time limit
        "killed": lambda _: sweeps.kill_run("killed"),
        "orphaned": lambda _: sweeps.kill_task("orphaned"),
        "cancelled": lambda job: ask("scancel", job),
        "preempted": preempt,
    }
    with sweeps.partitions_down():  # so that all start at the same time
        for name in strikes:
            sweeps.launch(
                name, SLOW, *SLOW_TOY, profile={"partition": "low"} if name == "preempted" else None
            )
        jobs = {name: sweeps.active(name)[0][0] for name in strikes}
    waiting = dict(strikes)
    while waiting:
        ready = wait_for(
            "a checkpoint", lambda: [name for name in waiting if sweeps.run(name).checkpoint.exists()], 600
        )
        for name in ready:
            waiting.pop(name)(jobs[name])

    wait_for("preemption", lambda: "received SIG" in sweeps.log("preempted"))
    sweeps.go()
    again = ("killed", "orphaned", "cancelled")
    for name in again:
        sweeps.wait_until_gone(name)
        # also of the process whose parent in the job was killed
        wait_for("the end of the attempt", lambda name=name: sweeps.states(name) == ["interrupted"])
    assert "SIGKILL" in sweeps.detail("killed")
    for name in again:
        assert "1 runs submitted" in sweeps.launch(name, SLOW, *SLOW_TOY)
    for name in strikes:
        sweeps.wait_until_gone(name)
    for name in strikes:
        assert sweeps.states(name) == ["done"], f"{name}: {sweeps.log(name)}"
        assert sweeps.science(name) == undisturbed(SLOW), name
        (row,) = sweeps.rows(name)
        assert row["resumed"] >= 1, f"{name} started from scratch: {sweeps.log(name)}"
    assert "requeued itself" in sweeps.log("warned")
    for name in ("requeued", "warned", "preempted"):
        assert len(sweeps.tokens(name)) == 1, "the job itself resumed, not a launch"


def test_what_was_warned_and_then_cancelled_stays_down(sweeps):
    sweeps.launch("stay", SLOW, *SLOW_TOY)
    sweeps.wait_for_checkpoint("stay")
    ((job, _),) = sweeps.active("stay")
    sweeps.cluster.ask("scancel", "--signal=USR2", job)
    code, said = sweeps.command("cancel", "stay")
    assert (code, said.splitlines()[-1]) == (0, "1 jobs cancelled")
    assert sweeps.active("stay") == []
    assert sweeps.states("stay") == ["interrupted"]


def test_a_second_copy_leaves_a_run_alone(sweeps, undisturbed):
    """A local launch next to the job waits for it; a foreign job for the same run ends at once."""
    sweeps.launch("twice", SLOW, *SLOW_TOY)
    sweeps.wait_for_checkpoint("twice")
    said = sweeps.launch("twice", SLOW, *SLOW_TOY)
    assert "0 runs submitted, 1 complete or left alone" in said
    local = sweeps.launch("twice", SLOW, *SLOW_TOY, "--local", code=3)
    assert "1 running" in local
    sweeps.go()
    assert len(list(sweeps.run("twice").attempts.glob("*.json"))) == 1
    sweeps.wait_until_gone("twice")
    assert sweeps.science("twice") == undisturbed(SLOW)
