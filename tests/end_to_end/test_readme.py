"""What the README shows is what happens."""

import re
from pathlib import Path

import sweep
from sweep.config.grid import Grid, expand

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def block(name):
    """The fenced block whose first line is a comment with the file's name."""
    (found,) = re.findall(rf"```(?:python|yaml)\n(# {re.escape(name)}.*?)```", README, re.S)
    return found


def test_the_plug_in_example_runs_as_written(work, tmp_path):
    for name in ("my_tasks.py", "my_grid.yaml"):
        (tmp_path / name).write_text(block(name))
    (command,) = re.findall(r"python -m sweep.launch (--grid my_grid.yaml.*)", README)
    done = work(*command.replace("my_", f"{tmp_path}/my_").split())
    assert done.returncode == 0, done.stderr
    rows = sweep.load(work.results / "my_grid").to_pylist()
    assert len(rows) == 2 * (1 + 2)
    # two classes of 64 inputs: floor(12.8) kept
    assert {row["kept"] for row in rows if row["pruner"] == "steepest"} == {12}
    assert all("my_tasks.py" in row["plugins"] for row in rows)
    # sixteen greetings, all different words: a dense network learns them all
    assert {row["test_accuracy"] for row in rows if row["pruner"] == "dense"} == {100.0}


def test_the_grid_example_is_a_grid(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(block("mine.yaml"))
    runs = expand(Grid.load(str(path)))
    # five seeds: dense once, three pruners at two compressions
    assert len(runs) == 5 * (1 + 3 * 2)
    assert {run.iterations for run in runs if run.pruner == "synflow"} == {20}
    assert {run.epochs for run in runs} == {3}
