"""The state of a sweep's runs, as tables on the terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from sweep.core.errors import printable
from sweep.store.status import STATES, RunStatus, counts
from sweep.terminal.console import STYLES, console
from sweep.terminal.progress import progress_cells


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
        groups.setdefault((status.spec.task, status.spec.pruner), []).append(status)
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
    for state in ("running", "done", "failed", "interrupted", "stale", "unknown"):
        members = [status for status in statuses if status.state == state]
        if state == "done":  # those alone whose result should have been replaced
            members = [status for status in members if status.rerun]
        if not members:
            continue
        meaning = Text.assemble("\n", (state, STYLES[state]), (f": {STATES[state]}", "dim"))
        console.print(meaning, soft_wrap=True)
        for status in members[:20]:
            # errors may hold paths and commands, which are to be copied whole; progress is only read
            soft_wrap = state != "running" or not console.is_terminal
            console.print(Text(printable(f"  {status.run_id}  {_detail(status)}")), soft_wrap=soft_wrap)
        if len(members) > 20:
            console.print(Text(f"  and {len(members) - 20} more", style="dim"))


def _detail(status: RunStatus) -> str:
    if status.state != "running":
        return status.detail
    phase, *numbers = progress_cells(status.progress)
    shown = [
        form.format(value)
        for form, value in zip(("loss {}", "metric {}", "{} left"), numbers, strict=True)
        if value
    ]
    return ", ".join([phase, *shown, *([f"job {status.job}"] if status.job else [])])
