"""What the terminal shows, for the room that there is."""

import io
import re
from contextlib import redirect_stdout
from importlib import metadata

import pytest
from support.rows import run_record

from sweep.config.run_spec import settable_fields
from sweep.report.stats import cells
from sweep.report.terminal_tables import result_tables, results
from sweep.store.status import RunStatus
from sweep.terminal.console import console
from sweep.terminal.progress import progress_table

PRUNERS = ["random", "grasp", "magnitude", "snip", "synflow"]
ROWS = [
    {"pruner": pruner, "compression": compression, "seed": seed, "accuracy": 60.0 + seed}
    for pruner in PRUNERS
    for compression in (1.0, 2.0)
    for seed in range(3)
    if (pruner, compression, seed) != ("snip", 2.0, 2)
]


@pytest.fixture
def printed(monkeypatch):
    """Print on a console of so many columns; gives the lines."""

    def printed(width, *things):
        monkeypatch.setattr(console, "width", width)
        with redirect_stdout(io.StringIO()) as shown:
            for thing in things:
                console.print(thing() if callable(thing) else thing)
        return shown.getvalue().splitlines()

    return printed


@pytest.mark.parametrize(("width", "tables"), [(160, 1), (80, 2), (60, 3), (30, 5)])
def test_results_are_split_where_one_table_is_too_wide(monkeypatch, width, tables):
    monkeypatch.setattr(console, "width", width)
    found = list(result_tables("toy", "accuracy", cells(ROWS, "accuracy", PRUNERS), PRUNERS))
    assert len(found) == tables
    headers = [column.header for table in found for column in table.columns]
    assert [header for header in headers if header in PRUNERS] == PRUNERS


def test_two_metrics_are_never_averaged(printed):
    """Of a task whose metric has been renamed the latest rows count."""
    row = {"task": "toy", "pruner": "grasp", "compression": 1.0}
    rows = [
        row
        | {"run_id": f"r{seed}", "seed": seed, "metric": metric, "test_metric": value, "finished_at": seed}
        for seed, (metric, value) in enumerate([("F1", 10.0), ("accuracy", 60.0), ("accuracy", 62.0)])
    ]
    statuses = [RunStatus(each["run_id"], run_record(each["run_id"]), "done", row=each) for each in rows]
    lines = printed(160, lambda: results(statuses) or "")
    assert lines[0] == "left out: r0: its metric is F1, that of later runs accuracy"
    table = " ".join(" ".join(lines).split())  # whose title is wider than it
    assert "toy: test accuracy, mean ± 95 % interval, n = 2" in table
    # of 60 and 62: 12.706 * 1.4142 / sqrt(2)
    assert "61.00 ± 12.71" in table


def test_n_is_said_once_and_where_it_differs(printed):
    found = cells(ROWS, "accuracy", PRUNERS)
    lines = printed(160, *result_tables("toy", "accuracy", found, PRUNERS))
    assert lines[0].strip() == "toy: test accuracy, mean ± 95 % interval, n = 3"
    # of 60, 61 and 62: t(0.975, 2) / sqrt(3) = 2.48; of 60 and 61: 12.706 * 0.7071 / sqrt(2) = 6.35
    assert [line.count("61.00 ± 2.48") for line in lines[4:6]] == [5, 4]
    assert [line.count("60.50 ± 6.35 (n=2)") for line in lines[4:6]] == [0, 1]


def test_numbers_of_running_runs_stay_whole_in_a_narrow_window(printed):
    progress = {"phase": "train", "epoch": 12, "epochs": 15, "loss": 2.1235, "metric": 10.25, "eta": 12.3}
    status = RunStatus(
        "toy_translation-random-c0.5-s0-339eb123",
        run_record(),
        "running",
        progress=progress | {"fraction": 0.5},
    )
    for width, shown in ((120, status.run_id), (80, status.run_id), (45, "toy_tra")):
        line = printed(width, lambda: progress_table([status]))[1]
        assert line.startswith(shown)
        assert line.replace("━", "").split()[-6:] == ["epoch", "12/15", "2.1235", "10.25", "12.3", "s"]
        assert ("━" in line) == (width == 120)
        assert len(line) <= width


def test_the_lists_have_every_key_with_its_values(work):
    done = work.sweep("list")
    assert done.returncode == 0, done.stderr
    lines = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert ["schedule", "exponential | linear", "densities of the iterations"] in lines
    # in the process of the tests others may have registered tasks of theirs
    (beam,) = (line for line in lines if line[:2] == ["beam", "1"])
    assert beam[2] == "hypotheses of the beam search; 1: greedy"
    assert {"multi30k", "toy_translation"} <= set(beam[3].split(", "))
    named = {line[0] for line in lines}
    assert named >= set(settable_fields()) | {"demo", "ag_news", "toy_translation", "grasp"}
    # the same key of two tasks that differ in it: a line each
    assert [line[1] for line in lines if line[0] == "max_len"] == ["60", "30"]
    assert all(len(line) > 1 for line in lines if line[0] in named and line[0] in settable_fields())


def test_the_version(work):
    assert work.sweep("--version").stdout == f"prunesweep {metadata.version('prunesweep')}\n"
