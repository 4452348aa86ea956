"""Submitting on a real Slurm when something is in the way; nearly nothing is trained here."""

import fcntl
import hashlib
import json
import signal

import pytest
from support.waiting import wait_for

pytestmark = pytest.mark.slurm

ONE = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0]}


def sbatch_lives(array):
    with array.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_killed_launcher_and_a_frozen_controller_make_no_orphan_and_no_double(sweeps, undisturbed):
    sweeps.command("launch", *sweeps.arguments("frozen", ONE, "--dry-run"))  # the token cache is there
    sweeps.cluster.controller(signal.SIGSTOP)
    try:
        launcher = sweeps.work.start(*sweeps.arguments("frozen", ONE))
        # the launcher has asked for limits first, so the controller has to be awake for a moment, until sbatch starts
        sweeps.cluster.controller(signal.SIGCONT)
        array = sweeps.work.paths("frozen").array(1, 1)
        wait_for("the intent", array.manifest.exists)
        sweeps.cluster.controller(signal.SIGSTOP)
        launcher.kill()
        launcher.communicate()
        before = len(sweeps.tokens("frozen"))
        refused = sweeps.launch("frozen", ONE, code=3)
        assert refused.startswith("error: ")
        assert len(sweeps.tokens("frozen")) == before
    finally:
        sweeps.cluster.controller(signal.SIGCONT)
    wait_for("the end of sbatch", lambda: not array.lock.exists() or not sbatch_lives(array))
    sweeps.launch("frozen", ONE, "--wait")
    assert sweeps.science("frozen") == undisturbed(ONE)
    assert [row["attempt"] for row in sweeps.rows("frozen")] == [1]
    taken = [token for token in sweeps.tokens("frozen") if sweeps.cluster.jobs(token, states="all")]
    assert len(taken) == 1, "Slurm has had exactly one job"


def test_what_waits_for_ever_what_is_refused_and_a_controller_that_is_down(sweeps):
    profile = {"partition": "short", "time": 10}  # its limit is two minutes
    sweeps.launch("never", ONE, profile=profile)
    wait_for(
        "Slurm's reason", lambda: sweeps.detail("never").startswith("can never start: PartitionTimeLimit")
    )
    printed = sweeps.command("status", "never")[1]
    assert "1 can never start: PartitionTimeLimit" in " ".join(printed.split())

    sweeps.launch("huge", ONE, profile={"cpus": 99})  # no node has so many
    wait_for("Slurm's reason", lambda: sweeps.detail("huge").startswith("can never start: PartitionConfig"))
    sweeps.command("cancel", "huge")
    refused = sweeps.launch("refused", ONE, code=2, profile={"partition": "nowhere"})
    assert "Slurm rejects the jobs: sbatch: error: invalid partition specified: nowhere" in refused
    assert sweeps.states("refused") == ["pending"]

    # what it has accepted it saves some seconds later; killed before, it would have forgotten the job
    (token,) = sweeps.tokens("never")
    saved = sweeps.cluster.directory / "state/job_state"
    wait_for("the controller's state", lambda: saved.exists() and token.encode() in saved.read_bytes())
    sweeps.cluster.script("controller-kill")
    try:
        code, printed = sweeps.command("status", "never")
        assert (code, "unknown: " in printed, "slurm_load_jobs error" in printed) == (3, True, True)
        assert sweeps.states("never") == ["unknown"]
        assert "nothing is submitted" in sweeps.launch("never", ONE, code=3)
    finally:
        sweeps.cluster.script("controller-start")
    assert "0 runs submitted" in sweeps.launch("never", ONE)
    assert sweeps.command("cancel", "never")[0] == 0
    assert sweeps.states("never") == ["interrupted"]


def test_a_setup_line_that_fails_and_a_run_that_does(sweeps):
    sweeps.launch("setup", ONE, profile={"setup": ["cd /not/there", "touch never"]})
    diverging = {"tasks": {"toy": {"epochs": 1, "lr": 1e30}}} | {
        key: ONE[key] for key in ("pruners", "compressions", "seeds")
    }
    sweeps.launch("diverging", diverging)
    sweeps.wait_until_ended("setup", "failed")
    assert "failed before the run started" in sweeps.detail("setup")
    assert "/not/there: No such file or directory" in sweeps.detail("setup")
    assert "/not/there" in sweeps.command("logs", "setup", "--failed")[1]
    assert "0 runs submitted" in sweeps.launch("setup", ONE), "it would fail again"
    sweeps.wait_until_ended("diverging", "failed")
    assert "lower lr" in sweeps.detail("diverging")
    assert "1 runs submitted" in sweeps.launch("setup", ONE, "--retry", "failed", "--wait")
    assert sweeps.states("setup") == ["done"]


PLUGIN = """
import prune

@prune.method("mine")
def mine(scoring):
    "as steep as it is"
    return [gradient.abs() for gradient in scoring.gradient()]
"""


def test_code_that_is_edited_while_jobs_wait_is_not_what_they_run(sweeps):
    plugin = sweeps.file("my_pruner.py", PLUGIN)
    with sweeps.partitions_down():
        sweeps.launch("edited", ONE | {"pruners": ["mine"]}, "--plugin", plugin)
        plugin.write_text("raise SystemExit('edited')")
    sweeps.wait_until_gone("edited")
    (row,) = sweeps.rows("edited")
    assert json.loads(row["plugins"]) == {"my_pruner.py": hashlib.sha256(PLUGIN.encode()).hexdigest()}


def test_a_renamed_job_is_known_and_cancelled(sweeps):
    """An administrator may rename a job: its name is no longer the token that it was submitted under."""
    with sweeps.partitions_down():
        sweeps.launch("renamed", ONE)
        ((job, _),) = sweeps.active("renamed")
        sweeps.cluster.ask("scontrol", "update", f"jobid={job}", "name=somebody_else")
        assert sweeps.active("renamed") == []
        assert sweeps.states("renamed") == ["pending"]
        assert "0 runs submitted" in sweeps.launch("renamed", ONE)
        code, said = sweeps.command("cancel", "renamed")
        assert (code, said.splitlines()[-1]) == (0, "1 jobs cancelled")
    assert sweeps.cluster.jobs() == []
    assert sweeps.detail("renamed").startswith("cancelled (job ")


def test_what_was_cancelled_in_the_queue_is_cancelled(sweeps):
    """Slurm keeps the tasks of an array that never started as one record."""
    with sweeps.partitions_down():
        sweeps.launch("waiting", ONE | {"seeds": "0-5"})
        assert sweeps.command("cancel", "waiting")[0] == 0
    details = {line["detail"].split(" (")[0] for line in sweeps.status("waiting").values()}
    assert details == {"cancelled"}
