"""A task of a plug-in that breaks, before the first run or in it."""

import json
import re
import textwrap

import pytest
from support.command import refused, write_grid
from support.faults import PLUGIN, line_of


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("bad_prepare", r"task 'bad_prepare' \(.*mine.py, line {}\): ValueError: no corpus today"),
        ("no_data", r"task 'no_data': prepare\(\) returned NoneType; return a sweep.tasks.Dataset"),
        ("no_corpus", r"task 'no_corpus': corpus\(\) returned NoneType; return a Corpus"),
        ("no_test_rows", r"task 'no_test_rows' has no test rows; give it at least one"),
        ("no_training_rows", r"task 'no_training_rows' has no training rows; give it at least one"),
        ("exits", r"task 'exits' \(.*mine.py, line \d+\): SystemExit: no rows"),
        ("unfinished", r"task 'unfinished' \(.*mine.py\): TypeError: .*abstract"),
        ("a/b", r"run 'a/b-random-c1-s0-\w+' cannot be a directory name; rename its task or pruner"),
    ],
)
def test_a_task_that_fails_before_any_slot_opens(command, tmp_path, task, message):
    write_grid(tmp_path, tasks=[task])
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    launch = ("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py")
    refused(command(*launch), message.format(line_of("no corpus")))
    assert not (tmp_path / "results").exists()


@pytest.mark.process
def test_a_compression_that_keeps_nothing_and_tasks_that_break_in_the_run(work, tmp_path):
    """How many weights there are only the model knows, so these fail as runs, each with its reason."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    grid = write_grid(
        tmp_path, tasks=["toy", "bad_model", "bad_loss", "bad_metric"], compressions=[3], pruners=["snip"]
    )
    done = work("--grid", grid, "--local", "--plugin", tmp_path / "mine.py")
    assert (done.returncode, done.stderr) == (1, "")
    for task, reason in {
        "toy": "compression 3.0 keeps none of 256 prunable weights: 2.4082 is the most that keeps one",
        "bad_model": rf"mine\.py, line {line_of('no model')}: ValueError: no model today",
        "bad_loss": rf"mine\.py, line {line_of('no loss')}: ValueError: no loss today",
        "bad_metric": "the test accuracy is nan while the losses are numbers; fix evaluate\\(\\) of bad_metric",
    }.items():
        assert re.search(rf"failed {task}-snip-c3-s0-\w+  {reason}  ", done.stdout), done.stdout
    lines = map(json.loads, work.sweep("status", "grid", "--json").stdout.splitlines())
    causes = {line["run_id"].partition("-")[0]: line["cause"] for line in lines}
    assert causes == {"toy": None, "bad_model": None, "bad_loss": None, "bad_metric": "not_finite"}
