"""A second launch of a sweep uses its own plug-ins and data, not those of the first, and makes stale runs again."""

import pytest
from support.second_launch import BROKEN, NOTES, ONE_RUN, REPAIRED, STEEPEST, TOY, Files

import sweep

pytestmark = pytest.mark.process


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def launched(work, grid, fields, *options, code=0):
    done = work("--grid", grid(**fields), "--local", *options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def rows(work):
    return sweep.load(work.results / "grid").to_pylist()


def test_a_sweep_grows_by_a_pruner_of_a_plugin(work, grid, files):
    launched(work, grid, TOY)
    plugin = files.plugin("mine", "steepest.py", STEEPEST)
    launched(work, grid, TOY | {"pruners": ["random", "steepest"]}, "--plugin", plugin)
    assert [row["pruner"] for row in rows(work)] == ["random", "steepest"]
    assert [row["plugins"] is None for row in rows(work)] == [True, False]


def test_failed_runs_are_retried_with_the_repaired_plugin(work, grid, files):
    """The repaired file may be another one."""
    mine = TOY | {"pruners": ["mine"]}
    said = launched(work, grid, mine, "--plugin", files.plugin("a", "mine.py", BROKEN), code=1)
    assert "not written yet" in said
    launched(work, grid, mine, "--retry", "failed", "--plugin", files.plugin("b", "mine.py", REPAIRED))
    assert [row["attempt"] for row in rows(work)] == [2]


def test_other_data_is_read_from_the_directory_of_the_second_launch(work, grid, files):
    """The result of the first is stale then, and made again."""
    notes = ONE_RUN | {"tasks": ["notes"]}
    plugin = files.plugin("mine", "notes.py", NOTES)
    launched(work, grid, notes, "--plugin", plugin, "--data-dir", files.notes("few", 8))
    assert [(row["train_rows"], row["attempt"]) for row in rows(work)] == [(8, 1)]
    launched(work, grid, notes, "--plugin", plugin, "--data-dir", files.notes("many", 12))
    assert [(row["train_rows"], row["attempt"]) for row in rows(work)] == [(12, 2)]


def test_a_stale_run_is_made_again_once(work, grid, files):
    """After the data in the directory itself has changed."""
    notes = ONE_RUN | {"tasks": ["notes"]}
    command = ("--plugin", files.plugin("mine", "notes.py", NOTES), "--data-dir", files.notes("notes", 8))
    launched(work, grid, notes, *command)
    files.notes("notes", 10)
    for _ in range(2):
        launched(work, grid, notes, *command)
        assert [(row["train_rows"], row["attempt"]) for row in rows(work)] == [(10, 2)]


HELPED = """
import helper
import prune


@prune.method("mine", data=False)
def mine(scoring):
    return [helper.scored(weight) for weight in scoring.weights]
"""
HELPER = "def scored(weight):\n    return {}weight.detach()\n"


def test_results_of_changed_code_do_not_count(work, grid, files):
    """The plug-in's own file, and a module next to it; other pruners, and a file that is moved, keep their results."""
    mine = TOY | {"pruners": ["random", "mine"]}
    plugin = files.plugin("mine", "mine.py", HELPED)
    files.plugin("mine", "helper.py", HELPER.format(""))

    def launch(*options):
        done = work("--grid", grid(**mine), "--local", "--plugin", plugin, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, {row["pruner"]: row["attempt"] for row in rows(work)}

    assert launch()[1] == {"random": 1, "mine": 1}
    assert "stale" not in launch()[0]
    files.plugin("mine", "helper.py", HELPER.format("-"))
    dry = work("--grid", grid(**mine), "--local", "--plugin", plugin, "--dry-run").stdout
    assert "stale" not in dry, "as sweep status: the code of the last launch is what counts until the next"
    said, attempts = launch()
    assert "1 results are stale: plug-in mine.py has changed since" in said
    assert attempts == {"random": 1, "mine": 2}
    plugin.write_text(plugin.read_text() + "# a remark\n")
    assert launch()[1] == {"random": 1, "mine": 3}
    plugin = files.plugin("elsewhere", "mine.py", plugin.read_text())
    files.plugin("elsewhere", "helper.py", HELPER.format("-"))
    said, attempts = launch()
    assert "stale" not in said
    assert attempts == {"random": 1, "mine": 3}
    assert set(work.states().values()) == {"done"}
    # a launch without the plug-in knows of its pruner what the one before did
    only = work("--grid", grid(**mine), "--local", "--only", "pruner=random", "--plugin", plugin)
    assert only.returncode == 0
    assert len(rows(work)) == 2
