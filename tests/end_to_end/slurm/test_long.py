"""What takes minutes on a real Slurm: time limits, dying nodes and daemons, accounting, memory, full disks, a thousand runs."""

import shutil
import sys
import time
from pathlib import Path

import pytest
from support.mounts import small_disk
from support.onslurm import SLOW, SLOW_TOY
from support.waiting import wait_for

import sweep
from sweep.store.attempts import latest, process_start

pytestmark = [pytest.mark.slurm, pytest.mark.long]

ONE = {"tasks": {"toy": {"epochs": 1}}, "pruners": ["random"], "compressions": [1], "seeds": [0]}


def test_time_limits(own_cluster, sweeps_on, undisturbed):
    """A run of several time limits: the job puts itself back, also where the cluster's default is not to requeue."""
    on = sweeps_on(own_cluster("JobRequeue=0", "OverTimeLimit=0"))
    on.launch("limited", SLOW, *SLOW_TOY, profile={"time": 3})
    on.launch("once", SLOW, *SLOW_TOY, profile={"time": 3, "requeue": "false"})
    on.wait_until_ended("once", "interrupted")
    on.wait_for_checkpoint("once")
    on.wait_for_checkpoint("limited")
    assert "may not be requeued" in on.log("once")
    wait_for("the first time limit", lambda: "requeued itself" in on.log("limited"), 600)
    on.go()
    assert "1 runs submitted" in on.launch("once", SLOW, *SLOW_TOY)
    for name in ("limited", "once"):
        on.wait_until_gone(name)
        assert on.science(name) == undisturbed(SLOW), on.log(name)
        assert on.rows(name)[0]["resumed"] >= 1
    assert len(on.tokens("limited")) == 1


def test_preempted_without_a_warning(own_cluster, sweeps_on, undisturbed):
    """No grace time, no signal ahead of it, no wait between SIGTERM and SIGKILL: Slurm puts back what it has ended."""
    cluster = own_cluster("SlurmctldParameters=allow_user_triggers", "KillWait=0")
    cluster.ask("scontrol", "update", "PartitionName=low", "GraceTime=0")
    on = sweeps_on(cluster)
    on.launch("struck", SLOW, *SLOW_TOY, profile={"partition": "low"})
    on.wait_for_checkpoint("struck")
    pid = latest(on.run("struck")).content["pid"]
    where = ["-p", "high", "-w", "node3", "-N", "1", "-n", "8", "-t", "1", "-o", "/dev/null"]
    cluster.ask("sbatch", *where, "--wrap", "sleep 1")
    wait_for("the preemption", lambda: process_start(pid) is None)
    on.go()
    on.wait_until_ended("struck", "done")
    assert on.science("struck") == undisturbed(SLOW)
    assert on.rows("struck")[0]["resumed"] >= 1
    assert len(on.tokens("struck")) == 1
    assert "requeued itself" not in on.log("struck")


def test_a_node_dies_and_a_controller(own_cluster, sweeps_on, undisturbed):
    """slurmd is killed: its job resumes elsewhere. slurmctld is killed and restarted: jobs continue meanwhile."""
    cluster = own_cluster()
    on = sweeps_on(cluster)
    on.launch("survivor", SLOW, *SLOW_TOY)
    on.wait_for_checkpoint("survivor")
    node = cluster.ask("squeue", "-h", "-n", on.tokens("survivor")[0], "-o", "%N").strip()
    pid = latest(on.run("survivor")).content["pid"]
    cluster.script("node-kill", node)
    wait_for("a second attempt", lambda: latest(on.run("survivor")).number == 2, 600)
    assert latest(on.run("survivor")).content["slurm_restart"] == 1
    # the first copy still runs on what was the node; it gives up when it wants to write
    wait_for("the end of the first copy", lambda: process_start(pid) is None, 600)
    cluster.script("controller-kill")
    progress = on.run("survivor").checkpoint.stat().st_mtime
    wait_for(
        "progress without a controller", lambda: on.run("survivor").checkpoint.stat().st_mtime > progress
    )
    cluster.script("controller-start")
    cluster.script("node-start", node)
    on.go()
    on.wait_until_ended("survivor", "done")
    assert on.science("survivor") == undisturbed(SLOW)
    assert on.rows("survivor")[0]["resumed"] >= 1


def test_with_accounting(own_cluster, sweeps_on, undisturbed):
    """A QOS that takes ten jobs: the launch is partial, the same command submits the rest; the accounting knows the causes."""
    cluster = own_cluster("--accounting", "MinJobAge=2")
    on = sweeps_on(cluster)
    grid = ONE | {"seeds": "0-11"}
    profile = {"account": "dev", "qos": "limited"}
    with on.partitions_down():
        said = on.launch("partial", grid, code=3, profile=profile)
        assert "10 of 12 runs are submitted, for now Slurm takes no more" in said
        assert len(on.active("partial")) == 10
    on.wait_until_gone("partial")
    assert "2 runs submitted" in on.launch("partial", grid, profile=profile)
    on.wait_until_gone("partial")
    assert on.science("partial") == undisturbed(grid)
    assert {row["attempt"] for row in on.rows("partial")} == {1}
    # after everything has left the controller's memory
    on.launch("known", ONE, profile={"account": "dev", "setup": ["sleep 1000"]})
    ((job, _),) = wait_for("the job", lambda: on.active("known"))
    cluster.ask("scancel", job)
    wait_for("oblivion", lambda: not cluster.jobs(on.tokens("known")[0], states="all"), 300)
    wait_for("the accounting", lambda: "cancelled" in on.detail("known"), 120)


def test_out_of_memory(own_cluster, sweeps_on):
    if not Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists():
        pytest.skip("needs cgroup version 1")
    on = sweeps_on(own_cluster("--cgroup"))
    on.launch("greedy", ONE, profile={"memory": "120MB"})
    on.wait_until_ended("greedy", "failed")
    assert "out of memory" in on.detail("greedy")
    assert "0 runs submitted" in on.launch("greedy", ONE)
    on.launch("greedy", ONE, "--retry", "failed", "--wait", profile={"memory": "2GB"})
    assert on.states("greedy") == ["done"]


def test_limits_on_jobs_and_a_thousand_runs(own_cluster, sweeps_on, capfd):
    """MaxJobCount leaves room for a part. Then the time that a launch of a thousand takes, and its status."""
    cluster = own_cluster("MaxJobCount=1500")
    on = sweeps_on(cluster)
    many = ONE | {"seeds": "0-999"}
    with on.partitions_down():
        start = time.monotonic()
        on.launch("many", many)
        submitted = time.monotonic() - start
        assert len(on.active("many")) == 1000
        start = time.monotonic()
        states = on.states("many")
        status_time = time.monotonic() - start
        assert states == ["pending"] * 1000
        # 1500 - 1000 - two smoke tests, and Slurm keeps one place free
        assert "497 of 600 runs are submitted" in on.launch("more", ONE | {"seeds": "0-599"}, code=3)
        assert on.command("cancel", "many")[0] == on.command("cancel", "more")[0] == 0
    assert on.active("many") == []
    with capfd.disabled():
        print(f"\n1,000 runs: launch {submitted:.1f} s, status {status_time:.1f} s", file=sys.stderr)


def test_a_full_disk(own_cluster, sweeps_on, tmp_path):
    on = sweeps_on(own_cluster())
    with small_disk(tmp_path / "small", "60m") as disk:
        on.results = disk
        on.work.environment["SWEEP_RESULTS"] = str(disk)
        with on.partitions_down():
            on.launch("full", ONE)
            filler = disk / "filler"
            with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(65536))
                    file.flush()
        on.wait_until_gone("full")
        assert not list(disk.glob("full/runs/*/result.parquet"))
        filler.unlink()
        assert on.states("full")[0] in ("failed", "interrupted", "pending")
        on.launch("full", ONE, "--retry", "failed", "--wait")
        assert on.states("full") == ["done"]
        assert len(sweep.load(disk / "full")) == 1
    shutil.rmtree(tmp_path / "small", ignore_errors=True)
