"""What the terminal shows: progress while runs go on, tables afterwards."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.local import Display
from sweep.stats import Cells, Summary, cells
from sweep.status import STATES, RunStatus, State, counts, pruners_of

STYLES: dict[State, str] = {
    "done": "green",
    "running": "cyan",
    "pending": "dim",
    "interrupted": "yellow",
    "failed": "red",
    "stale": "magenta",
    "unknown": "yellow",
}

_WIDE = 100
"""Columns from which on there is room for bars."""

# no markup: a name such as `[bold]` is a name
console = Console(highlight=False, markup=False)
if not console.is_terminal and "COLUMNS" not in os.environ:
    console.width = 160  # a table in a file or a pipe has no reason to wrap its cells


def make_display(total: int, slots: int) -> "LiveDisplay | PlainDisplay":
    """A live table on a terminal, plain lines elsewhere."""
    return LiveDisplay(total, slots) if console.is_terminal else PlainDisplay(total)


class PlainDisplay(Display):
    """One line an event, for logs."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.finished = 0

    def __enter__(self) -> "PlainDisplay":
        return self

    def __exit__(self, *_: object) -> None: ...

    def started(self, status: RunStatus) -> None:
        self._say(f"start  {status.run_id}")

    def ended(self, status: RunStatus) -> None:
        self.finished += status.state == "done"
        self._say(f"{ended_line(status)}  [{self.finished}/{self.total}]")

    def tick(self, running: Sequence[RunStatus], waiting: int) -> None: ...

    def note(self, line: str) -> None:
        self._say(line)

    def _say(self, line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


class LiveDisplay(Display):
    """A line per running slot, the counts and a bar, redrawn in place; ended runs scroll away above."""

    def __init__(self, total: int, slots: int) -> None:
        self.total, self.slots = total, slots
        self.finished = 0
        self.began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, status: RunStatus) -> None: ...

    def ended(self, status: RunStatus) -> None:
        self.finished += status.state == "done"
        console.print(Text(ended_line(status), style=STYLES[status.state]))

    def note(self, line: str) -> None:
        console.print(Text(line, style="yellow"))

    def tick(self, running: Sequence[RunStatus], waiting: int) -> None:
        partial = sum(status.progress.get("fraction", 0.0) for status in running)
        done = self.finished + partial
        counted = f"{self.finished}/{self.total} done · {len(running)} running · {waiting} waiting"
        if done > 0.5:
            left = (time.monotonic() - self.began) / done * (self.total - done)
            counted += f" · {duration(left)} left"
        overall = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.total, completed=done, width=30)
        overall.add_row(*([bar] if console.width >= _WIDE else []), Text(counted))
        self._live.update(Group(progress_table(running), overall))


def progress_table(running: Sequence[RunStatus]) -> Table:
    """A line for each run; where there is little room the bars go first, then the ends of the ids."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run")  # the only one that may be made narrower
    table.add_column("phase", no_wrap=True)
    if console.width >= _WIDE:
        table.add_column("", no_wrap=True)
    for name in ("loss", "metric", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for status in running:
        bar = ProgressBar(total=1.0, completed=status.progress.get("fraction", 0.0), width=16)
        phase, *numbers = progress_cells(status.progress)
        run = Text(status.run_id, style=STYLES["running"], no_wrap=True, overflow="ellipsis")
        table.add_row(run, phase, *([bar] if console.width >= _WIDE else []), *numbers)
    return table


def progress_cells(progress: Mapping[str, Any]) -> list[str]:
    """How far a run is: phase, loss, metric, time left."""
    phase = str(progress.get("phase", "start"))
    if phase == "train":
        phase = f"epoch {progress['epoch']}/{progress['epochs']}"
    loss, metric = progress.get("loss"), progress.get("metric")
    return [
        phase,
        "" if loss is None else f"{loss:.4f}",
        "" if metric is None else f"{metric:.2f}",
        duration(progress.get("eta")),
    ]


def ended_line(status: RunStatus) -> str:
    """How a run ended, in one line."""
    if status.state == "done" and status.row:
        row = status.row
        return f"done   {status.run_id}  {row['metric']} {row['test_metric']:.2f}  {duration(row['seconds_total'])}"
    return f"{status.state:<6} {status.run_id}  {status.detail}"


def status_table(statuses: Sequence[RunStatus]) -> Table:
    """Counts by state: a row per task and pruner, and the sum."""
    present = list(counts(list(statuses)))
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True)
    table.add_column("task", footer="all")
    table.add_column("pruner")
    for state in present:
        total = sum(status.state == state for status in statuses)
        table.add_column(state, justify="right", style=STYLES[state], footer=str(total))
    groups: dict[tuple[str, str], list[RunStatus]] = {}
    for status in statuses:
        groups.setdefault((status.spec["task"], status.spec["pruner"]), []).append(status)
    for (task, pruner), members in groups.items():
        numbers = counts(members)
        table.add_row(task, pruner, *(str(numbers.get(state, "")) for state in present))
    return table


def explain(statuses: Sequence[RunStatus]) -> None:
    """Print, for each state that needs a word, what it means and which runs are in it and why."""
    waiting = Counter(status.detail for status in statuses if status.state == "pending" and status.detail)
    if waiting:
        console.print(Text.assemble("\n", ("pending", STYLES["pending"]), (f": {STATES['pending']}", "dim")))
        for detail, number in waiting.most_common(10):
            console.print(Text(f"  {number} {detail}"), soft_wrap=True)
    for state in ("running", "failed", "interrupted", "stale", "unknown"):
        members = [status for status in statuses if status.state == state]
        if not members:
            continue
        meaning = Text.assemble("\n", (state, STYLES[state]), (f": {STATES[state]}", "dim"))
        console.print(meaning, soft_wrap=True)
        for status in members[:20]:
            console.print(Text(f"  {status.run_id}  {_detail(status)}"), soft_wrap=True)
        if len(members) > 20:
            console.print(Text(f"  and {len(members) - 20} more", style="dim"))


def _detail(status: RunStatus) -> str:
    if status.state != "running":
        return status.detail
    phase, *numbers = progress_cells(status.progress)
    told = [
        form.format(value)
        for form, value in zip(("loss {}", "metric {}", "{} left"), numbers, strict=True)
        if value
    ]
    return ", ".join([phase, *told, *([f"job {status.job}"] if status.job else [])])


def result_tables(task: str, metric: str, found: Cells, pruners: Sequence[str]) -> Iterator[Table]:
    """The metric of one task: compression down, pruners across; as many tables as the console is too narrow for one."""
    shown = len(pruners)
    while shown > 1 and _width(_result_table(task, metric, found, pruners[:shown])) > console.width:
        shown -= 1
    for start in range(0, len(pruners), shown):
        yield _result_table(task, metric, found, pruners[start : start + shown])


def _result_table(task: str, metric: str, found: Cells, pruners: Sequence[str]) -> Table:
    """Mean and 95 % interval over seeds; how many these are is in the title, and in the cells that have another number."""
    usual = Counter(summary.n for summary in found.values()).most_common(1)[0][0]
    over = f", mean ± 95 % interval, n = {usual}" if usual > 1 else ""
    table = Table(
        title=f"{task}: test {metric}{over}", title_justify="left", title_style="bold", header_style="dim"
    )
    table.add_column("compression", justify="right", no_wrap=True)
    table.add_column("density", justify="right", no_wrap=True)
    for pruner in pruners:
        table.add_column(pruner, justify="right")
    for compression in sorted({compression for _, compression in found}):
        summaries = [found.get((pruner, compression)) for pruner in pruners]
        shown = (interval(s, counted=s is not None and s.n != usual) for s in summaries)
        table.add_row(f"{compression:g}", f"{10**-compression:.3g}", *shown)
    return table


def _width(table: Table) -> int:
    """Characters that the table takes where there is room."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def results(statuses: Sequence[RunStatus]) -> None:
    """Print the result table of every task with complete runs."""
    rows = [status.row for status in statuses if status.state == "done" and status.row]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        pruners = pruners_of(statuses, task)
        for table in result_tables(task, mine[0]["metric"], cells(mine, "test_metric", pruners), pruners):
            console.print(table)


def interval(summary: Summary | None, digits: int = 2, counted: bool = True) -> str:
    """`mean ± half-width (n)`; without an interval where one seed gives none, without n where that is said elsewhere."""
    if summary is None:
        return "–"
    half = "" if summary.half_width is None else f" ± {summary.half_width:.{digits}f}"
    return f"{summary.mean:.{digits}f}{half}" + (f" (n={summary.n})" if counted else "")


def duration(seconds: float | None) -> str:
    """`3.2 s`, `4 min 10 s`, `2 h 05 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
