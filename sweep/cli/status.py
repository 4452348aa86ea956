"""`sweep status`."""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from sweep.core.errors import ExitCode
from sweep.executors.status import current_status
from sweep.launch.cost import time_left
from sweep.store.layout import SweepPaths, existing_sweep
from sweep.store.status import exit_code
from sweep.terminal.console import console
from sweep.terminal.progress import RunStatus
from sweep.terminal.status_tables import explain, status_table

_WATCH_SECONDS = 2.0


def show_status(name: str, results: Path | None, *, as_json: bool, watch: bool) -> ExitCode:
    """Print the state of a sweep's runs; with `watch` until none is active. Returns the exit code that it deserves."""
    sweep = existing_sweep(name, results)
    while True:
        statuses, problem = current_status(sweep)
        active = any(status.job or status.state == "running" for status in statuses)
        if as_json:
            for status in statuses:
                line = {
                    "run_id": status.run_id,
                    "state": status.state,
                    "detail": status.detail,
                    "cause": status.cause,
                    "attempts": status.attempts,
                    "exit_status": status.exit_status,
                    "job": status.job,
                }
                print(
                    json.dumps(_finite(line | {"progress": dict(status.progress)}), allow_nan=False),
                    flush=True,
                )
            if problem:
                print(f"warning: {problem}", file=sys.stderr)
        else:
            if watch and console.is_terminal:
                console.clear()
            _print_tables(sweep, statuses)
            if problem:
                console.print(Text(problem, style="yellow"), soft_wrap=True)
        if not (watch and active):
            break
        time.sleep(_WATCH_SECONDS)
    return exit_code(statuses)


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for: the loss of a run that diverges."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_tables(sweep: SweepPaths, statuses: Sequence[RunStatus]) -> None:
    console.print(f"{sweep.name}  ({sweep.directory})", soft_wrap=True)
    console.print(status_table(statuses))
    explain(statuses)
    if left := time_left(sweep, statuses):
        console.print(Text(f"\n{left}", style="dim"), soft_wrap=True)
