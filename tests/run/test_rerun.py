"""`sweep run ID --again`: the old result stays until the new one is durable."""

import pytest
from support.command import GRID
from support.second_launch import Files

import sweep
from sweep.core.errors import StorageError
from sweep.run.supersede import superseding
from sweep.store.layout import RunPaths

PLUGIN = """
import prune

@prune.method("mine", data=False)
def mine(scoring):
    return [w.abs() for w in scoring.weights]
"""


@pytest.fixture
def plugin(tmp_path):
    return Files(tmp_path).plugin("place", "mine.py", PLUGIN)


@pytest.mark.process
@pytest.mark.parametrize("problem", ["no plug-in", "its code fails", "its code stops the process"])
def test_a_rerun_that_fails_leaves_the_result(work, grid, plugin, problem):
    launch = ("--grid", grid(**GRID | {"pruners": ["mine"]}), "--local", "--plugin", plugin)
    assert work(*launch).returncode == 0
    (run_id,) = work.run_ids()
    before = sweep.load(work.results / "grid").to_pylist()
    if problem == "no plug-in":
        plugin.unlink()
    else:
        what = "raise ValueError('no')" if problem == "its code fails" else "raise SystemExit(0)"
        plugin.write_text(PLUGIN.replace("return", f"{what}\n    return"))
    done = work.sweep("run", run_id, "--again")
    assert done.returncode == 1, done.stdout + done.stderr
    assert sweep.load(work.results / "grid").to_pylist() == before
    shown = work.sweep("status", "grid")
    assert shown.returncode == 0
    assert "the result is of attempt 1; attempt 2 failed: " in shown.stdout


@pytest.fixture
def run(tmp_path):
    run = RunPaths(tmp_path / "run")
    run.attempts.mkdir(parents=True)
    for table in (run.result, run.layers, run.epochs, run.mask, run.samples):
        table.write_text("old")
    return run


def content(run):
    return {path.name: path.read_text() for path in run.directory.iterdir() if path.is_file()}


def test_the_new_tables_replace_the_old_ones(run):
    with superseding(run, 2) as new:
        new.directory.mkdir()
        for table in (new.mask, new.layers, new.epochs, new.result):
            table.write_text("new")
        assert set(content(run).values()) == {"old"}
    assert content(run) == dict.fromkeys(
        ["result.parquet", "layers.parquet", "epochs.parquet", "mask.pt"], "new"
    )
    kept = sorted(path.name for path in run.attempts.iterdir())
    assert kept == [f"0002.superseded.{name}.parquet" for name in ("epochs", "layers", "result")]


def test_a_full_disk_leaves_the_old_ones(run):
    with pytest.raises(StorageError, match="No space left"), superseding(run, 2) as new:
        new.directory.mkdir()
        new.layers.write_text("new")
        raise OSError(28, "No space left on device")
    assert set(content(run).values()) == {"old"}
    assert list(run.attempts.iterdir()) == []


def test_without_an_old_result_nothing_is_moved(run):
    run.result.unlink()
    with superseding(run, 2) as new:
        assert new is run
