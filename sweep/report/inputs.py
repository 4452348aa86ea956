"""The inputs of a report: the states of all runs, and the rows of the complete ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweep.report.paper import PAPER, PaperTask
from sweep.report.samples import Samples, read_samples
from sweep.report.stats import Cells, cells, of_one_metric
from sweep.store.collection import collect
from sweep.store.layout import SweepPaths
from sweep.store.load import load_sweep
from sweep.store.parquet import MANY_RESULTS
from sweep.store.schema import DENSE
from sweep.store.status import RunStatus, pruners_of, survey
from sweep.store.submissions import read_runs

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TaskResults:
    """The complete runs of one task. epochs, layers: by run id, and so samples, of the first seed alone."""

    sweep: SweepPaths
    name: str
    statuses: Sequence[RunStatus]
    rows: Sequence[Row]
    epochs: Mapping[str, Sequence[Row]]
    layers: Mapping[str, Sequence[Row]]
    samples: Mapping[str, Samples]

    @property
    def metric(self) -> str:
        return str(self.rows[0]["metric"])

    @cached_property
    def pruners(self) -> list[str]:
        return pruners_of(self.statuses, self.name)

    @property
    def compared_pruners(self) -> list[str]:
        """The pruners that are compared with random; none without it."""
        return [p for p in self.pruners if p != "random"] if "random" in self.pruners else []

    @property
    def paper(self) -> PaperTask | None:
        return PAPER.get(self.name)

    @property
    def compressions(self) -> list[float]:
        return sorted({row["compression"] for row in self.rows})

    def cells(self, column: str) -> Cells:
        return cells(self.rows, column, self.pruners)

    def has(self, column: str) -> bool:
        return any(row[column] is not None for row in self.rows)


def cell_name(pruner: str, compression: float) -> str:
    """`grasp at 2`; the dense network needs no compression."""
    return DENSE if pruner == DENSE else f"{pruner} at {compression:g}"


@dataclass(frozen=True)
class ReportInputs:
    """A sweep as it is now. problems: a line for each file that could not be used."""

    sweep: SweepPaths
    statuses: Sequence[RunStatus]
    tasks: Sequence[TaskResults]
    problems: Sequence[str]

    @property
    def rows(self) -> list[Row]:
        return [row for task in self.tasks for row in task.rows]


def gather(sweep: SweepPaths) -> ReportInputs:
    """Read a sweep; one of `MANY_RESULTS` runs and more is collected first."""
    if len(read_runs(sweep)) >= MANY_RESULTS:
        collect(sweep)
    statuses = survey(sweep)
    rows = [status.row for status in statuses if status.state == "done" and status.row]
    done = {row["run_id"] for row in rows}
    problems: list[str] = []
    per_run: dict[str, dict[str, list[Row]]] = {}
    for name in ("epochs", "layers"):
        table, left_out = load_sweep(sweep, name)
        problems += [line for line in left_out if line not in problems]
        per_run[name] = {run_id: [] for run_id in done}
        for row in table.to_pylist():
            if row["run_id"] in done:
                per_run[name][row["run_id"]].append(row)
    tasks = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task, foreign = of_one_metric([row for row in rows if row["task"] == task])
        problems += foreign
        samples, damaged = read_samples(sweep, of_task)
        problems += damaged
        its_statuses = [status for status in statuses if status.spec.task == task]
        tasks.append(
            TaskResults(sweep, task, its_statuses, of_task, per_run["epochs"], per_run["layers"], samples)
        )
    return ReportInputs(sweep, statuses, tasks, problems)
