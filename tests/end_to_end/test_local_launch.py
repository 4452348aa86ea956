"""Launching on this machine, end to end, by the commands that the documentation shows."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
import torch
from support.waiting import wait_for
from support.workplace import science

import sweep
from sweep.cli.find_run import select_in_sweep
from sweep.config.grid import Grid, expand
from sweep.core.errors import UsageError
from sweep.store.layout import SweepPaths
from sweep.store.submissions import register_runs

pytestmark = pytest.mark.process

STEPS = 5000  # far more than the test lets happen


def test_a_launch_ends_with_results_a_report_and_exit_code_0(work, grid):
    done = work.process("--grid", grid(compressions=[0, 1], seeds="0-1"), "--local", "--slots", 2)
    assert done.returncode == 0, done.stderr
    rows = sweep.load(work.results / "grid").to_pylist()
    # per seed: dense once, and each pruner at compression 1
    assert sorted((row["pruner"], row["compression"], row["seed"]) for row in rows) == [
        ("dense", 0, 0), ("dense", 0, 1), ("grasp", 1, 0), ("grasp", 1, 1), ("random", 1, 0), ("random", 1, 1),
    ]  # fmt: skip
    pruned = [row for row in rows if row["compression"] == 1]
    # 4 x 64 weights and 4 biases: floor(25.6) are kept
    assert {(row["kept"], row["flops_remaining_paper"]) for row in pruned} == {(25, (25 + 4) / (256 + 4))}
    assert all(row["mask_effective"] for row in rows)
    assert (work.results / "grid/report/report.md").read_text().count("| 1 | 0.1 |") == 3
    assert "6 runs: 6 done" in done.stdout
    directory = work.paths().run(pruned[0]["run_id"]).directory
    files = [
        "attempts",
        "epochs.parquet",
        "layers.parquet",
        "log.txt",
        "mask.pt",
        "result.parquet",
        "spec.json",
    ]
    assert sorted(os.listdir(directory)) == files
    assert {name: int(mask.sum()) for name, mask in torch.load(directory / "mask.pt").items()} == {"fc": 25}


def test_the_same_command_again_skips_what_is_complete(work, grid):
    path = grid()
    assert work("--grid", path, "--local").returncode == 0
    before = science(sweep.load(work.results / "grid").to_pylist())
    again = work("--grid", path, "--local")
    assert (again.returncode, "start" in again.stdout) == (0, False)
    assert sweep.load(work.results / "grid").to_pylist() != []
    assert work("--grid", path, "--local", "--retry", "all").returncode == 0
    repeated = sweep.load(work.results / "grid").to_pylist()
    assert science(repeated) == before, "the same specification must give the same bits"
    assert {row["attempt"] for row in repeated} == {2}
    kept = sorted(os.listdir(work.paths().run(repeated[0]["run_id"]).attempts))
    assert "0002.superseded.result.parquet" in kept


def test_pruners_share_initial_weights_and_batches(work, grid):
    """With one compression where nothing is pruned away, all pruners are the dense run; at another, they still begin alike."""
    path = grid(
        tasks={"toy": {"epochs": 0}}, pruners=["random", "magnitude"], compressions=[0, 0.001], seeds=[3]
    )
    assert work("--grid", path, "--local").returncode == 0
    rows = sweep.load(work.results / "grid").to_pylist()
    masks = {row["pruner"]: torch.load(work.paths().run(row["run_id"]).mask)["fc"] for row in rows}
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "dense": 256,
        "random": 255,
        "magnitude": 255,
    }
    # untrained, one weight of 256 apart: the accuracies are those of one network
    assert max(row["test_accuracy"] for row in rows) - min(row["test_accuracy"] for row in rows) < 3


def test_a_dry_run_starts_nothing(work, grid):
    shown = work("--grid", grid(), "--dry-run")
    assert (shown.returncode, work.results.exists()) == (0, False)
    assert re.search(r"pending\s+toy-random-c1-s0-", shown.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_lost_terminal_stops_cleanly(work, grid, number):
    path = grid(tasks={"toy": {"epochs": STEPS}}, pruners=["random"])
    process = work.start("--grid", path, "--local", "--name", "long")
    live = "long/runs/*/attempts/*.live"
    wait_for("a first epoch", lambda: any('"epoch"' in p.read_text() for p in work.results.glob(live)))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes" in err
    (run_id,) = work.run_ids("long")
    assert work.states("long") == {run_id: "interrupted"}
    assert work.paths("long").run(run_id).checkpoint.is_file()
    assert "stopped by SIGTERM" in work.sweep("status", "long").stdout


def test_ctrl_c_again_kills_what_does_not_stop(work, grid):
    path = grid(tasks={"toy": {"epochs": STEPS}}, pruners=["random"])
    process = work.start("--grid", path, "--local", "--name", "stuck", stderr=subprocess.STDOUT)
    while not (
        claims := [
            p for p in work.results.glob("stuck/runs/*/attempts/*.json") if p.with_suffix(".live").exists()
        ]
    ):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(json.loads(claims[0].read_text())["pid"], signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    while "stopping: 1 runs save their state" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert "killed by a second Ctrl-C" in work.sweep("status", "stuck").stdout


def test_under_nohup_a_launch_outlives_its_terminal(work, grid):
    path = grid(tasks={"toy": {"epochs": 1}}, pruners=["random"])
    process = work.start("--grid", path, "--local", "--name", "alone", nohup=True)
    while not list(work.results.glob("alone/runs/*/attempts/*.live")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(work.states("alone").values()) == {"done"}


def test_a_sweep_may_grow_but_not_change_its_mind(work, grid):
    launch = ("--local", "--name", "mine")
    assert work("--grid", grid(), *launch, "--only", "pruner=grasp").returncode == 0
    assert work("--grid", grid(seeds="0-1"), *launch).returncode == 0
    assert work("--grid", grid(), *launch).returncode == 0, "a part of it is still a part of it"
    assert len(sweep.load(work.results / "mine")) == 4
    changed = work.process("--grid", grid(tasks={"toy": {"epochs": 2}}), *launch)
    assert changed.returncode == 2
    assert re.search(
        r"^error: the sweep 'mine' has toy-random-c1-s0-\w+ with epochs = 1, this launch asks for 2; .* --name$",
        changed.stderr,
        re.M,
    )
    assert len(sweep.load(work.results / "mine")) == 4


def test_only_of_a_sweep_is_as_of_its_grid(tmp_path):
    """Also by an option that one of the tasks has: runs of the others have no value there."""
    text = "tasks: {toy: {}, toy_translation: {prunable: paper}}\npruners: [random]\ncompressions: [1]\nseeds: [0, 1]\n"
    grid, paths = Grid.parse(text, "g.yaml"), SweepPaths(tmp_path)
    register_runs(paths, grid.dump(), [run.to_record() for run in expand(grid)])
    for only in ("prunable=paper", "seed=1,prunable=paper", "prunable=null", "seed=0,seed=1.0"):
        pairs = [pair.split("=") for pair in only.split(",")]
        wanted = {key: [value for name, value in pairs if name == key] for key, _ in pairs}
        assert select_in_sweep(paths, [only]) == {run.id for run in expand(grid, wanted)} != set(), only
    with pytest.raises(UsageError, match=r"--only: unknown field 'prunabel' \(did you mean 'prunable'\?\)"):
        select_in_sweep(paths, ["prunabel=paper"])


def test_only_a_part_of_a_grid(work, grid):
    path = grid(tasks=["toy", "later"], compressions=[0, 1])
    done = work("--grid", path, "--local", "--only", "task=toy,pruner=grasp", "--set", "toy.epochs=1")
    assert done.returncode == 0, done.stderr
    assert [row["pruner"] for row in sweep.load(work.results / "grid").to_pylist()] == ["grasp"]


def test_one_run_in_the_foreground(work, grid):
    assert work("--grid", grid(), "--local").returncode == 0
    before = science(sweep.load(work.results / "grid").to_pylist())
    run_id = next(name for name in work.run_ids() if "random" in name)
    assert work.sweep("run", run_id).stdout == f"{run_id} is complete\n"
    done = work.process("run", run_id[:14], "--again", module="sweep.cli")
    assert (done.returncode, done.stdout.splitlines()[-1][:15]) == (0, "done: accuracy "), done.stderr
    assert science(sweep.load(work.results / "grid").to_pylist()) == before
    unknown = work.sweep("run", "toy-grisp")
    assert (unknown.returncode, unknown.stderr[:26]) == (2, "error: no run 'toy-grisp' ")


def test_runs_at_once_share_a_gpu(work, grid):
    """Two runs in four slots: half of its memory for each."""
    plugin = work.results.parent / "shared.py"
    plugin.write_text(
        "import os\n\nimport prune\n\n\n@prune.method('share', data=False)\ndef share(scoring):\n"
        "    raise ValueError('share ' + os.environ['SWEEP_GPU_SHARE'])\n"
    )
    options = ("--local", "--slots", 4, "--plugin", plugin)
    done = work("--grid", grid(pruners=["share"], compressions=[1], seeds="0-1"), *options)
    assert done.stdout.count("ValueError: share 0.5") >= 2, done.stdout
