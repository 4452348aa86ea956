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


MINE = """
import prune
from helper import SIGN


@prune.method("mine", data=False)
def mine(scoring):
    return [SIGN * w.abs() for w in scoring.weights]
"""


def attempts(work):
    return {row["pruner"]: row["attempt"] for row in rows(work)}


def test_results_of_another_version_of_a_plugin_are_stale(work, grid, files):
    """Those of its tasks and pruners, and not for a comment; --keep-results keeps them until the code changes again."""
    files.plugin("mine", "helper.py", "SIGN = 1\n")
    plugin = files.plugin("mine", "mine.py", MINE)
    fields = TOY | {"pruners": ["random", "mine"]}
    launched(work, grid, fields, "--plugin", plugin)
    files.plugin("mine", "mine.py", MINE + "# a comment\n")
    assert "stale" not in launched(work, grid, fields, "--plugin", plugin)
    assert attempts(work) == {"random": 1, "mine": 1}

    files.plugin("mine", "helper.py", "SIGN = -1\n")
    shown = launched(work, grid, fields, "--plugin", plugin, "--dry-run")
    assert "stale: 1 runs (plug-in code of pruner mine " in shown
    kept = launched(work, grid, fields, "--plugin", plugin, "--keep-results")
    assert "stale" not in kept
    launched(work, grid, fields, "--plugin", plugin)
    assert attempts(work) == {"random": 1, "mine": 1}

    files.plugin("mine", "helper.py", "SIGN = -2\n")
    said = launched(work, grid, fields, "--plugin", plugin)
    assert "stale: 1 runs (plug-in code of pruner mine " in said
    assert "--keep-results keeps them" in said
    assert attempts(work) == {"random": 1, "mine": 2}
    assert set(work.states().values()) == {"done"}


def test_a_dry_run_and_status_agree(work, grid, files):
    """On what an earlier launch made stale, and what the present pipeline does."""
    notes = ONE_RUN | {"tasks": ["notes"], "seeds": [0, 1]}
    text = files.plugin("mine", "notes.py", NOTES)
    data = files.notes("few", 8)
    launched(work, grid, notes, "--plugin", text, "--data-dir", data)
    launched(work, grid, notes, "--plugin", text, "--data-dir", files.notes("many", 12), "--only", "seed=0")
    assert sorted(work.states().values()) == ["done", "stale"]
    shown = launched(work, grid, notes, "--plugin", text, "--dry-run")
    assert [line.split()[0] for line in shown.splitlines()[:2]] == ["done", "stale"]
