"""What a launch ends with: results, report, exit code."""

import sys

from rich.text import Text

from sweep.core.errors import ExitCode, StorageError
from sweep.executors.status import current_status
from sweep.report.terminal_tables import results
from sweep.store.layout import SweepPaths
from sweep.store.status import counts, exit_code
from sweep.terminal.console import console
from sweep.terminal.status_tables import explain


def finish(sweep: SweepPaths, run_ids: set[str]) -> ExitCode:
    """Write the report, show the results and what is not complete, and choose the exit code for the runs `run_ids`."""
    from sweep.report import write_report

    statuses, problem = current_status(sweep)
    statuses = [status for status in statuses if status.run_id in run_ids]
    if problem:
        console.print(Text(problem, style="yellow"))
    results(statuses)
    explain(statuses)
    number = counts(statuses)
    tally = ", ".join(f"{count} {state}" for state, count in number.items())
    console.print(f"\n{len(statuses)} runs: {tally}")
    code = exit_code(statuses)
    # last, so that what came out is seen, and counts, also where the report cannot be written
    try:
        report = write_report(sweep)
    except StorageError as error:
        if code == ExitCode.OK:
            raise
        print(f"error: {error}", file=sys.stderr)
    else:
        line = Text.assemble("report: ", (str(report), "bold"), f" and {sweep.report_html.name}")
        console.print(line, soft_wrap=True)
    return code
