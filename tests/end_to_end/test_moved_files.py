"""Files that are moved or deleted under a launch: no number is lost or doubled, and nothing is made in their place."""

import json
import os
import shutil

import pytest
from support.waiting import wait_for
from support.workplace import ROOT

import sweep
from sweep.store.attempts import latest

pytestmark = pytest.mark.process


@pytest.fixture
def slow(work, grid, tmp_path):
    """Starts a launch of two runs that hardly make progress until `go` exists; (command, go)."""
    go = tmp_path / "go"
    work.environment |= {"SWEEP_TEST_GO": str(go), "SWEEP_CHECKPOINT_SECONDS": "0"}
    path = grid(tasks={"slow_toy": {"epochs": 1}}, pruners=["random"], compressions=[1], seeds=[0, 1])
    return ("--grid", path, "--local", "--slots", 1, "--plugin", ROOT / "tests/support/slow_toy.py"), go


def in_the_middle(work, command):
    """The launcher, when its first run has a checkpoint."""
    launcher = work.start(*command)
    wait_for("a checkpoint", lambda: list(work.results.glob("grid/runs/*/checkpoint.pt")))
    return launcher


def test_a_results_directory_that_is_renamed(work, slow):
    command, go = slow
    launcher = in_the_middle(work, command)
    aside = work.results.with_name("aside")
    work.results.rename(aside)
    _, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 3
    assert (
        err
        == f"error: {work.results}/grid is gone: renamed, deleted or unmounted; put it back, then repeat the command\n"
    )
    assert not work.results.exists(), "nothing is made in its place"
    aside.rename(work.results)
    go.touch()
    assert work(*command).returncode == 0
    rows = sweep.load(work.results / "grid").to_pylist()
    assert [row["run_id"] for row in rows] == sorted(work.run_ids())


def test_attempts_that_are_deleted_under_their_run(work, slow):
    """Whoever deletes them lets others execute the run: the first one ends without a result."""
    command, go = slow
    launcher = in_the_middle(work, command)
    run_id = work.run_ids()[0]
    run = work.paths().run(run_id)
    first = latest(run).content["pid"]
    shutil.rmtree(run.attempts)
    wait_for("the end of the first", lambda: not os.path.exists(f"/proc/{first}"))
    assert "was deleted, moved or replaced during the run; exiting without a result" in run.log.read_text()
    assert not run.result.exists()
    go.touch()
    out, err = launcher.communicate(timeout=120)
    assert launcher.returncode in (1, 3), out + err
    assert work(*command, "--retry", "failed").returncode == 0
    rows = sweep.load(work.results / "grid").to_pylist()
    assert sorted(row["run_id"] for row in rows) == sorted(work.run_ids())


def test_an_end_is_not_written_into_the_attempt_of_another(work, slow):
    """After the deletion, another process has claimed the same number."""
    command, go = slow
    launcher = in_the_middle(work, command)
    run = work.paths().run(work.run_ids()[0])
    claim = latest(run)
    other = claim.content | {"pid": 1, "pid_start": 1, "host": "elsewhere"}
    run.attempt(1).write_text(json.dumps(other))
    wait_for("the end of the first", lambda: not os.path.exists(f"/proc/{claim.content['pid']}"))
    assert json.loads(run.attempt(1).read_text()) == other
    go.touch()
    launcher.communicate(timeout=180)
