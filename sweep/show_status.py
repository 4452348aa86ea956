"""`sweep status`."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from sweep import show
from sweep.agree import time_left
from sweep.exit_codes import ExitCode
from sweep.look import look
from sweep.paths import SweepPaths, existing_sweep
from sweep.status import exit_code

_WATCH_SECONDS = 2.0


def show_status(name: str, results: Path | None, *, as_json: bool, watch: bool) -> ExitCode:
    """Print the state of a sweep's runs; with `watch` until none is active. Returns the exit code that it deserves."""
    sweep = existing_sweep(name, results)
    while True:
        statuses, problem = look(sweep)
        active = any(status.job or status.state == "running" for status in statuses)
        if as_json:
            for status in statuses:
                line = {
                    "run_id": status.run_id,
                    "state": status.state,
                    "detail": status.detail,
                    "attempts": status.attempts,
                    "exit_status": status.exit_status,
                    "job": status.job,
                }
                print(json.dumps(line | {"progress": dict(status.progress)}), flush=True)
            if problem:
                print(f"warning: {problem}", file=sys.stderr)
        else:
            if watch and show.console.is_terminal:
                show.console.clear()
            _print_tables(sweep, statuses)
            if problem:
                show.console.print(Text(problem, style="yellow"), soft_wrap=True)
        if not (watch and active):
            break
        time.sleep(_WATCH_SECONDS)
    return exit_code(statuses)


def _print_tables(sweep: SweepPaths, statuses: Sequence[show.RunStatus]) -> None:
    show.console.print(f"{sweep.name}  ({sweep.folder})", soft_wrap=True)
    show.console.print(show.status_table(statuses))
    show.explain(statuses)
    if left := time_left(sweep, statuses):
        show.console.print(Text(f"\n{left}", style="dim"), soft_wrap=True)
