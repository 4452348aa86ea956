"""Trying out one batch of each task and pruner."""

import math
import sys
from dataclasses import replace

import pytest

import prune
from sweep.config.plugins import load_plugins
from sweep.config.run_spec import RunSpec
from sweep.core.errors import SweepError
from sweep.run.smoke import representatives, try_out
from sweep.store.submissions import Submission


def spec(pruner, compression, seed=0, task="toy", **changes):
    return RunSpec.make(task, pruner, compression, seed, changes).to_record()


@pytest.fixture
def submission(monkeypatch, token_cache):
    monkeypatch.setenv("SWEEP_CACHE", str(token_cache))
    return Submission(runs=[], data={})


def test_of_each_task_and_pruner_the_one_that_prunes_most():
    specs = [
        spec("random", 1),
        spec("random", 2, 1),
        spec("random", 2, 2),
        spec("grasp", 1),
        spec("dense", 0),
    ]
    assert representatives(specs) == [specs[1], specs[3], specs[4]]


@pytest.mark.slow
def test_every_pruner_on_both_tasks(submission):
    said = []
    pruners = ["random", "magnitude", "snip", "grasp", "synflow"]
    specs = [spec(pruner, 1) for pruner in pruners] + [
        spec("dense", 0),
        spec("grasp", 1, task="toy_translation"),
    ]
    try_out(specs, submission, said.append)
    assert [line.partition(":")[0] for line in said] == [
        *(f"smoke test of toy with {pruner}" for pruner in pruners),
        "smoke test of toy with dense",
        "smoke test of toy_translation with grasp",
    ]
    assert all(math.isfinite(float(line.rpartition(" ")[2])) for line in said)


def test_a_failure_names_task_pruner_and_the_line_of_the_plugin(submission, tmp_path):
    plugin = tmp_path / "unwell.py"
    plugin.write_text(
        'import prune\n\n@prune.method("unwell")\ndef unwell(scoring):\n    raise SystemExit("out of nothing")\n'
    )
    load_plugins([plugin])
    message = "smoke test of toy with unwell: unwell.py, line 5: SystemExit: out of nothing"
    try:
        with pytest.raises(SweepError, match=f"^{message}$"):
            try_out([spec("unwell", 1)], replace(submission, plugins=[str(plugin)]))
    finally:
        del prune.METHODS["unwell"], sys.modules["plugin_unwell"]
