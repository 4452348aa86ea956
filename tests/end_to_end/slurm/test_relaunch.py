"""A second launch uses its own plug-ins and data on Slurm, too, and executes stale runs again."""

import pytest
from support.second_launch import BROKEN, NOTES, ONE_RUN, REPAIRED, STEEPEST, TOY, Files

pytestmark = pytest.mark.slurm


def test_a_sweep_grows_by_a_pruner_of_a_plugin(sweeps, tmp_path):
    sweeps.launch("grown", TOY, "--wait")
    plugin = Files(tmp_path).plugin("mine", "steepest.py", STEEPEST)
    said = sweeps.launch("grown", TOY | {"pruners": ["random", "steepest"]}, "--wait", "--plugin", plugin)
    assert "1 runs submitted" in said
    assert [row["pruner"] for row in sweeps.rows("grown")] == ["random", "steepest"]


def test_failed_runs_are_retried_with_the_repaired_plugin(sweeps, tmp_path):
    mine = TOY | {"pruners": ["mine"]}
    broken = Files(tmp_path).plugin("a", "mine.py", BROKEN)
    repaired = Files(tmp_path).plugin("b", "mine.py", REPAIRED)
    assert "not written yet" in sweeps.launch("repaired", mine, "--wait", "--plugin", broken, code=1)
    sweeps.launch("repaired", mine, "--wait", "--retry", "failed", "--plugin", repaired)
    assert [row["attempt"] for row in sweeps.rows("repaired")] == [2]


def test_other_data_is_read_from_the_directory_of_the_second_launch(sweeps, tmp_path):
    notes = ONE_RUN | {"tasks": ["notes"]}
    files = Files(tmp_path)
    plugin = ("--plugin", files.plugin("mine", "notes.py", NOTES), "--wait")
    sweeps.launch("noted", notes, *plugin, "--data-dir", files.notes("few", 8))
    sweeps.launch("noted", notes, *plugin, "--data-dir", files.notes("many", 12))
    assert [(row["train_rows"], row["attempt"]) for row in sweeps.rows("noted")] == [(12, 2)]
    assert "0 runs submitted, 1 complete" in sweeps.launch(
        "noted", notes, *plugin[:2], "--data-dir", files.notes("many", 12)
    )
