"""Killed at any moment and repeated, a run ends bit for bit as if it had never been disturbed."""

import json
import random
import signal
import time

import pytest
import torch
import yaml
from support.waiting import wait_for
from support.workplace import Workplace, science

import sweep
from sweep.config.grid import Grid, expand
from sweep.store.attempts import latest
from sweep.store.submissions import Submission, register_runs

pytestmark = pytest.mark.process

TASKS = {
    "toy": {"epochs": 40},
    # dropout and half-precision products, and batches that are made of an order instead of being cut from it
    "toy_translation": {"epochs": 3, "precision": "bf16", "batching": "tokens"},
}


def recorded(work, name, task="toy"):
    """A sweep of one GraSP run whose training takes a few seconds, launched and not begun. Its id."""
    path = work.results.parent / f"{task}.yaml"
    fields = {"tasks": {task: TASKS[task]}, "pruners": ["grasp"], "compressions": [1], "seeds": [0]}
    path.write_text(yaml.safe_dump(fields))
    grid = Grid.load(str(path))
    (run,) = expand(grid)
    register_runs(work.paths(name), grid.dump(), [run.to_record()])
    Submission(runs=[run.id], data={}, data_dir=None, allow_unverified=False, plugins=[]).save(
        work.paths(name)
    )
    return run.id


def begin(work, name, run_id, interval):
    return work.begin_run(run_id, name, SWEEP_CHECKPOINT_SECONDS=str(interval))


def ended(process):
    """Its exit status."""
    wait_for("the end of the run", lambda: process.poll() is not None, 1800)
    return process.poll()


def until_saved(checkpoint, times, process):
    """Wait until the checkpoint has been written so many times by `process`."""
    found = [identity(checkpoint)]

    def saved():
        assert process.poll() is None, "the run was too quick to be disturbed"
        if (now := identity(checkpoint)) != found[-1]:
            found.append(now)
        return len(found) > times

    wait_for("a checkpoint", saved, 300, pause=0.005)


def identity(path):
    """Changes with every replacement of the file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def tables(work, name):
    return [
        science(sweep.load(work.results / name, table).to_pylist())
        for table in ("result", "epochs", "layers")
    ]


@pytest.fixture(scope="module", params=["toy"])
def undisturbed(request, tmp_path_factory, token_cache):
    """Where a run was never disturbed, its id and its tables."""
    work = Workplace(tmp_path_factory.mktemp("calm") / "results", {"SWEEP_CACHE": str(token_cache)})
    run_id = recorded(work, "calm", request.param)
    assert ended(begin(work, "calm", run_id, 3600)) == 0
    return work, run_id, tables(work, "calm")


@pytest.mark.parametrize(
    ("undisturbed", "number"),
    [
        ("toy", signal.SIGKILL),
        ("toy", signal.SIGTERM),
        ("toy", signal.SIGUSR2),
        ("toy_translation", signal.SIGKILL),
    ],
    indirect=["undisturbed"],
)
def test_killed_again_and_again(work, undisturbed, number):
    _, run_id, expected = undisturbed
    assert recorded(work, "rough", run_id.partition("-")[0]) == run_id
    generator = random.Random(number)
    # counted in what it has saved, since a clock means little on a busy machine; the first dies before it has saved anything
    for saved in (0, 1, 3):
        process = begin(work, "rough", run_id, 0.05)
        until_saved(work.paths("rough").run(run_id).checkpoint, saved, process)
        time.sleep(generator.uniform(0.0, 0.1))
        process.send_signal(number)
        assert ended(process) != 0, "the run was too quick to be disturbed"
    assert ended(begin(work, "rough", run_id, 0.05)) == 0
    assert tables(work, "rough") == expected
    (row,) = sweep.load(work.results / "rough").to_pylist()
    assert row["resumed"] >= 1
    assert not work.paths("rough").run(run_id).checkpoint.exists()


def test_a_checkpoint_of_other_data_is_not_used(work, undisturbed):
    """The saved state names what it belongs to; here its torch is another, so the run starts from scratch."""
    _, run_id, expected = undisturbed
    assert recorded(work, "other") == run_id
    run = work.paths("other").run(run_id)
    process = begin(work, "other", run_id, 0.05)
    wait_for("a checkpoint", run.checkpoint.exists)
    process.kill()
    process.wait()
    saved = torch.load(run.checkpoint)
    saved["identity"]["torch"] = "1.0"
    torch.save(saved, run.checkpoint)
    assert ended(begin(work, "other", run_id, 3600)) == 0
    (row,) = sweep.load(work.results / "other").to_pylist()
    assert row["resumed"] == 0
    assert tables(work, "other") == expected


def test_death_between_result_and_end_of_the_attempt_costs_nothing(undisturbed):
    """The power goes after the result is durable: the run is complete, and is not executed again."""
    work, run_id, _ = undisturbed
    run = work.paths("calm").run(run_id)
    claim = latest(run)
    run.attempt(claim.number).write_text(
        json.dumps({k: v for k, v in claim.content.items() if k not in ("outcome", "ended_at")})
    )
    assert work.states("calm") == {run_id: "done"}
    assert ended(begin(work, "calm", run_id, 60)) == 0
    assert latest(run).number == claim.number
