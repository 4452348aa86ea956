"""Results whose scores came from batches that all counted the same are stale where that makes a difference."""

from dataclasses import replace

import pytest
from support.command import write_grid
from support.rows import change, write_sweep

import sweep
from sweep.launch.launcher import _prepare
from sweep.launch.options import LaunchOptions
from sweep.launch.plan import make_plan
from sweep.store.schema import SCHEMA_VERSION
from sweep.store.status import staleness, survey
from sweep.store.submissions import DataStamp, Submission, current_data, read_runs

STAMP = DataStamp("x", True, 1, weighed_by={"snip": "rows", "mine": "items"})
WHY = "its scoring batches all counted the same, now by their {}"


def row(pruner, samples, size, version=5):
    return {
        "data_hash": "x", "pipeline_version": 1, "plugins": None, "pruner": pruner,
        "score_samples": samples, "score_batch_size": size, "schema_version": version,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pruner", "samples", "size", "why"),
    [
        ("snip", 40, 256, ""),  # one batch
        ("snip", 256, 256, ""),
        ("snip", 512, 256, ""),  # even
        ("snip", 257, 256, WHY.format("rows")),
        ("mine", 256, 64, WHY.format("items")),  # as many rows, not as many tokens
        ("mine", 64, 64, ""),
        ("random", 257, 256, ""),  # scores without data
        ("dense", 257, 256, ""),
    ],
)
def test_old_results_are_stale_where_their_scores_would_be_others(pruner, samples, size, why):
    assert staleness(row(pruner, samples, size), STAMP) == why
    assert staleness(row(pruner, samples, size, version=6), STAMP) == ""
    # a launch by older code knew no other rule, and of rows without a launch nothing is known
    assert staleness(row(pruner, samples, size), replace(STAMP, weighed_by={})) == ""
    assert staleness(row(pruner, samples, size), None) == ""


def test_a_later_launch_with_another_pruner_forgets_nothing():
    later = replace(STAMP, weighed_by={"grasp": "rows"})
    assert later.after(STAMP).weighed_by == {"snip": "rows", "mine": "items", "grasp": "rows"}


def test_stale_rows_are_neither_loaded_nor_counted(tmp_path):
    written = write_sweep(tmp_path / "s", score_samples=257, score_batch_size=256, data_hash="x")
    for run_id in read_runs(written):
        change(written, run_id, schema_version=5 if run_id != "toy-grasp-c1-s0" else SCHEMA_VERSION)
    stamp = DataStamp("x", True, 1, weighed_by={"grasp": "rows"})
    Submission(list(read_runs(written)), {"toy": stamp}).save(written)
    assert current_data(written)["toy"] == stamp
    stale = {status.run_id for status in survey(written) if status.state == "stale"}
    assert stale == {f"toy-grasp-c{c}-s{s}" for c in (1, 2) for s in (0, 1, 2)} - {"toy-grasp-c1-s0"}
    assert {r["run_id"] for r in sweep.load(written.directory).to_pylist()} == set(read_runs(written)) - stale


def test_a_launch_says_what_batches_are_weighed_by(tmp_path, token_cache, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(token_cache))
    tasks = {"toy": {}, "toy_translation": {}}
    grid = write_grid(tmp_path, tasks=tasks, pruners=["random", "snip"], compressions=[0, 1])
    data = _prepare(make_plan(LaunchOptions(grid=str(grid), local=True, results=tmp_path / "results"))).data
    assert data["toy"].weighed_by == {"snip": "rows"}
    assert data["toy_translation"].weighed_by == {"snip": "items"}
