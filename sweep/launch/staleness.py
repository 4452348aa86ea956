"""Which earlier results a launch takes for current, and what it prints of the others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.text import Text

from sweep.config.plugins import custom_code
from sweep.launch.plan import LaunchPlan
from sweep.store.status import RunStatus
from sweep.store.submissions import DataStamp, current_data
from sweep.tasks import get_task
from sweep.terminal.console import STYLES, console


def with_current_code(plan: LaunchPlan, stamps: Mapping[str, DataStamp]) -> dict[str, DataStamp]:
    """The stamps of the plan's tasks with the pipeline versions and the plug-in code of this process.

    What an earlier launch with --keep-results accepted stays accepted while the code does not change again.

    Args:
        plan: whose plug-ins have been loaded.
        stamps: by task; of tasks without one nothing is known, and none comes back.
    """
    before = current_data(plan.sweep)
    code: dict[str, dict[str, list[str]]] = {}
    for run in plan.runs:
        for name, fingerprint in custom_code(run.task, run.pruner).items():
            known = before[run.task].code.get(name, ()) if run.task in before else ()
            keep = plan.options.keep_results or known[:1] == [fingerprint]
            earlier = [other for other in known if other != fingerprint] if keep else []
            code.setdefault(run.task, {})[name] = [fingerprint, *earlier]
    return {
        task: replace(
            stamps[task],
            pipeline_version=get_task(task).pipeline_version,
            code=code.get(task, {}),
        )
        for task in dict.fromkeys(run.task for run in plan.runs)
        if task in stamps
    }


def print_stale(statuses: Sequence[RunStatus]) -> None:
    """Print how many results do not count, and why."""
    reasons = Counter(status.detail for status in statuses if status.state == "stale" and status.row)
    for reason, count in reasons.most_common(10):
        hint = "; --keep-results keeps them" if reason.startswith("plug-in code") else ""
        line = Text.assemble(("stale", STYLES["stale"]), f": {count} runs ({reason}){hint}")
        console.print(line, soft_wrap=True)
