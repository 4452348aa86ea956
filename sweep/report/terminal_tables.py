"""Result tables on the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from sweep.report.stats import Cells, cells, format_interval, of_one_metric
from sweep.store.status import RunStatus, pruners_of
from sweep.terminal.console import console


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
        shown = (format_interval(s, counted=s is not None and s.n != usual) for s in summaries)
        table.add_row(f"{compression:g}", f"{10**-compression:.3g}", *shown)
    return table


def _width(table: Table) -> int:
    """Characters that the table takes where there is room."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def results(statuses: Sequence[RunStatus]) -> None:
    """Print the result table of every task with complete runs."""
    rows = [status.row for status in statuses if status.state == "done" and status.row]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine, others = of_one_metric([row for row in rows if row["task"] == task])
        for line in others:
            console.print(Text(f"left out: {line}"), soft_wrap=True)
        pruners = pruners_of(statuses, task)
        for table in result_tables(task, mine[0]["metric"], cells(mine, "test_metric", pruners), pruners):
            console.print(table)
