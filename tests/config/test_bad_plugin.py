"""A plug-in that cannot be loaded is named with the line that failed."""

import random
import textwrap

import pytest
from support.command import refused, write_grid
from support.faults import PLUGIN


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import math\n\nmath.sqrt(-1)\n", r"mine.py, line 3: ValueError: math domain error"),
        ("import json\njson.loads('{')\n", r"mine.py, line 2: JSONDecodeError: "),
        ("def f(:\n", r"mine.py, line 1: SyntaxError: "),
        ("import sys\nsys.exit(3)\n", r"mine.py, line 2: SystemExit: 3"),
        ("raise ValueError('two\\nlines')\n", r"mine.py, line 1: ValueError: two lines"),
        ("import nothing_of_this_name\n", r"mine.py, line 1: ModuleNotFoundError: .*nothing_of_this_name"),
        (
            "from sweep.tasks import task\nfrom sweep.tasks.toy_classification import Toy\n@task('toy')\nclass Mine(Toy): ...\n",
            r"mine.py: task name 'toy' of Mine is taken by sweep.tasks.toy_classification.Toy; choose another",
        ),
        (
            "from prune.methods import method\n@method('grasp')\ndef mine(scoring): ...\n",
            r"mine.py, line 2: PruneError: .*'grasp' is registered already: choose another name",
        ),
        (
            "import prune\n@prune.method(5)\ndef f(s): ...\n",
            r"mine.py, line 2: .* method 5: its name is not a string: write",
        ),
        (
            "from sweep.tasks import task\n@task(5)\nclass A: ...\n",
            r"mine.py: task name 5 is not a string; write @task",
        ),
        (
            "from sweep.tasks import task\n@task('a')\nclass A: ...\n",
            r"mine.py: task 'a' is .*plugin_mine.A.*; make it",
        ),
        (
            "from sweep.tasks import Task, task\n@task('a')\nclass A(Task): ...\n",
            r"mine.py: task 'a': A has no `summary`; give it one, one line of text",
        ),
    ],
)
def test_a_plugin_that_raises_when_imported(command, tmp_path, source, message):
    write_grid(tmp_path)
    (tmp_path / "mine.py").write_text(source)
    for _ in range(2):  # it is not half there the second time
        refused(
            command("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py"),
            rf"plug-in .*{message}",
        )
    assert not (tmp_path / "results").exists()


def test_a_pruner_by_the_name_of_the_runs_that_prune_nothing(command, tmp_path):
    write_grid(tmp_path, pruners=["random", "dense"])
    (tmp_path / "mine.py").write_text(textwrap.dedent(PLUGIN))
    launch = ("launch", "--local", "--grid", "grid.yaml", "--plugin", "mine.py")
    refused(command(*launch), r"pruner name 'dense' is taken by the runs at compression 0; choose another")
    assert not (tmp_path / "results").exists()


@pytest.mark.process
def test_a_plugin_may_have_any_name(command, tmp_path):
    """Also one of a module that others mean when they say it."""
    write_grid(tmp_path)
    (tmp_path / "random.py").write_text("x = 1\n")
    code, _, err = command("launch", "--dry-run", "--grid", "grid.yaml", "--plugin", "random.py")
    assert (code, err) == (0, "")
    assert not hasattr(random, "x")
