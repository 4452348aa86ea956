"""Progress while runs are executed."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.store.status import RunStatus
from sweep.terminal.console import STYLES, WIDE, console, duration


class Display(Protocol):
    """What is reported while runs are executed. `total` counts the runs of this launch."""

    def started(self, status: RunStatus) -> None: ...
    def ended(self, status: RunStatus) -> None: ...
    def tick(self, running: Sequence[RunStatus], waiting: int) -> None: ...
    def note(self, line: str) -> None: ...


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
        self.started_at = time.monotonic()
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
            left = (time.monotonic() - self.started_at) / done * (self.total - done)
            counted += f" · {duration(left)} left"
        overall = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.total, completed=done, width=30)
        overall.add_row(*([bar] if console.width >= WIDE else []), Text(counted))
        self._live.update(Group(progress_table(running), overall))


def progress_table(running: Sequence[RunStatus]) -> Table:
    """A line for each run; where there is little room the bars go first, then the ends of the ids."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("run")  # the only one that may be made narrower
    table.add_column("phase", no_wrap=True)
    if console.width >= WIDE:
        table.add_column("", no_wrap=True)
    for name in ("loss", "metric", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for status in running:
        bar = ProgressBar(total=1.0, completed=status.progress.get("fraction", 0.0), width=16)
        phase, *numbers = progress_cells(status.progress)
        run = Text(status.run_id, style=STYLES["running"], no_wrap=True, overflow="ellipsis")
        table.add_row(run, phase, *([bar] if console.width >= WIDE else []), *numbers)
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
