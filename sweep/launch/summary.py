"""What a launch ends with: results, report, exit code."""

import sys

from rich.text import Text

from sweep.core.errors import ExitCode, StorageError
from sweep.executors.status import current_status
from sweep.launch.plan import LaunchPlan
from sweep.report.terminal_tables import results
from sweep.store.status import counts, exit_code
from sweep.store.submissions import Submission
from sweep.terminal.console import console
from sweep.terminal.status_tables import explain


def finish(plan: LaunchPlan, submission: Submission) -> ExitCode:
    """Show the results of a launch and what is not complete, write the sweep's report, and choose the exit code."""
    from sweep.report import write_report

    # what the executors left, for the runs of this launch; the report reads the whole sweep, after collecting it
    statuses, problem = current_status(plan.sweep, submission.data, plan.specs)
    if problem:
        console.print(Text(problem, style="yellow"))
    results(statuses)
    explain(statuses)
    tally = ", ".join(f"{count} {state}" for state, count in counts(statuses).items())
    console.print(f"\n{len(statuses)} runs: {tally}")
    asked_again = plan.options.retry == "all"
    code = exit_code([status.of_rerun() for status in statuses] if asked_again else statuses)
    # last, so that what came out is seen, and counts, also where the report cannot be written
    try:
        report = write_report(plan.sweep)
    except StorageError as error:
        if code == ExitCode.OK:
            raise
        print(f"error: {error}", file=sys.stderr)
    else:
        line = Text.assemble("report: ", (str(report), "bold"), f" and {plan.sweep.report_html.name}")
        console.print(line, soft_wrap=True)
    return code
