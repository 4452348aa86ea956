"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest

import sweep
from sweep.config.grid import Grid, expand
from sweep.report.paper import PAPER

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
README = (ROOT / "README.md").read_text()
TABLE = README[README.index("| compression | weights kept |") :].partition("\n\n")[0]


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


def test_the_table_is_of_the_reference_rows():
    """Each cell of the first table, from the rows in the repository and the paper's figures."""
    rows = sweep.load(REFERENCE / "ag_news").to_pylist()
    means = sweep.cells(rows, "test_metric", ["random", "grasp"])
    differences = sweep.paired_differences(rows, "test_metric", "grasp", "random")
    p = dict(
        zip(differences, sweep.holm([sweep.sign_flip_p(d.values) for d in differences.values()]), strict=True)
    )
    kept = {row["compression"]: row["kept"] for row in rows}
    expected = []
    for c in sorted(kept):
        ours = [
            f"{means[pruner, c].mean:.2f} ± {means[pruner, c].half_width:.2f}"
            for pruner in ("random", "grasp")
        ]
        d = differences.get(c)
        compared = [f"{d.mean:+.2f} ± {d.half_width:.2f}".replace("-", "−"), f"{p[c]:.3g}"] if d else ["", ""]
        published = ", ".join(f"{PAPER['ag_news'].metric[pruner, c]:.2f}" for pruner in ("random", "grasp"))
        expected.append([f"{c:g}", str(kept[c]), *ours, *compared, published])
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]
    assert shown == expected
    hours = sum(row["threads"] * row["seconds_total"] for row in rows) / 3600
    assert f"{hours:.1f} core-hours" in README
    assert {summary.n for summary in means.values()} == {10}, "ten seeds per cell"


def test_the_tests_that_it_names_are_there():
    named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", README)
    assert len(named) >= 6
    for name, path in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
