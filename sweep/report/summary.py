"""The summary in words, which state what the numbers support and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweep.report.blocks import Block, Points, Text
from sweep.report.inputs import ReportInputs, TaskResults
from sweep.report.stats import (
    MOST_FLIPPED,
    Summary,
    drop_from_dense,
    format_interval,
    holm,
    paired_differences,
    sign_flip_p,
    smallest_p,
)
from sweep.store.schema import DENSE
from sweep.store.status import STATES, counts

LEVEL = 0.05


def summary(inputs: ReportInputs) -> list[Block]:
    """How many runs are complete, then a few sentences per task."""
    runs_in_state = counts(list(inputs.statuses))
    done = runs_in_state.pop("done", 0)
    blocks: list[Block] = [Text(f"{done} of {len(inputs.statuses)} runs are complete.")]
    if runs_in_state:
        blocks.append(Points([f"{count} {state}: {STATES[state]}" for state, count in runs_in_state.items()]))
    for task in inputs.tasks:
        sentences = [dense_sentence(task), *falls(task), *comparison(task)]
        blocks += [Text(f"**{task.name}**, test {task.metric}:"), Points([s for s in sentences if s])]
    return blocks


def dense_sentence(task: TaskResults) -> str:
    """The metric of the unpruned network."""
    found = task.cells("test_metric").get((task.pruners[0], 0.0))
    return f"The dense network reaches {format_interval(found)}." if found else ""


def falls(task: TaskResults) -> list[str]:
    """Per pruner the compressions at which it differs clearly from the dense network on common seeds, and the others."""
    lines = []
    for pruner in task.pruners:
        drops = drop_from_dense(task.rows, "test_metric", pruner) if pruner != DENSE else {}
        if drops:
            lines.append(f"{pruner} against the dense network, on common seeds: {verdicts(drops)}.")
    return lines


def verdicts(differences: Mapping[float, Summary]) -> str:
    """`36.37 ± 24.63 below at c = 2 (n=3); no clear difference at c = 0.1 and 1`."""
    clear, apart = [], []
    for c, difference in differences.items():
        if difference.half_width is not None and difference.contains(0.0):
            apart.append(f"{c:g}")
            continue
        side = "above" if difference.mean > 0 else "below"
        size = format_interval(replace(difference, mean=abs(difference.mean)), counted=False)
        clear.append(f"{size} {side} at c = {c:g} (n={difference.n})")
    if apart:
        clear.append(f"no clear difference at c = {listed(apart)}")
    return "; ".join(clear)


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def comparison(task: TaskResults) -> list[str]:
    """How many of the paired comparisons with random are clear, by the interval and by the exact test."""
    found = [
        s
        for pruner in task.compared_pruners
        for s in paired_differences(task.rows, "test_metric", pruner, "random").values()
    ]
    usable = [s for s in found if s.half_width is not None]
    if not found:
        return []
    if not usable:
        return ["One seed per cell: no comparison with random has an interval, so nothing is concluded."]
    clear = [s for s in usable if not s.contains(0.0)]
    text = (
        f"{len(clear)} of {len(usable)} paired differences to random {'has' if len(clear) == 1 else 'have'} a 95 % interval that "
        "excludes zero"
    )
    tested = [s for s in usable if s.n <= MOST_FLIPPED]
    if tested:
        hold = sum(p <= LEVEL for p in holm([sign_flip_p(s.values) for s in tested]))
        best = min(smallest_p(s.n) for s in tested)
        text += f"; {hold} {'holds' if hold == 1 else 'hold'} at {LEVEL:g} by the exact sign-flip test with Holm's correction"
        if best * len(tested) > LEVEL:
            n = max(s.n for s in tested)
            text += f" (with n={n} none can: the smallest p is {best:.2g}, times {len(tested)} comparisons)"
    return [text + "."]
