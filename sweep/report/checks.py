"""Sanity checks: what a reader has to know before trusting a conclusion."""

import math
from collections import defaultdict
from collections.abc import Sequence

from sweep.core.errors import Cause
from sweep.report.blocks import Notice
from sweep.report.inputs import ReportInputs, Row, TaskResults
from sweep.store.status import has_uneven_batches

LEARNING_LOSS_RATIO = 0.99
"""A run has learnt if its last epoch's training loss is below this fraction of its first epoch's."""


def sanity(inputs: ReportInputs) -> list[Notice]:
    """Warnings first, then notes."""
    notices = [*_files(inputs), *_failures(inputs)]
    for task in inputs.tasks:
        notices += [*_data(task), *_masks(task), *_scoring(task), *_training(task), *_pairing(task)]
    notices += _code(inputs)
    return sorted(notices, key=lambda notice: notice.level != "warning")


def _files(inputs: ReportInputs) -> list[Notice]:
    if not inputs.problems:
        return []
    text = f"{_count(inputs.problems, 'file')} could not be used and {_is(inputs.problems)} left out."
    return [Notice("warning", text, inputs.problems)]


def _failures(inputs: ReportInputs) -> list[Notice]:
    failed = [status for status in inputs.statuses if status.state == "failed"]
    diverged = [status for status in failed if status.cause is Cause.NOT_FINITE]
    notices = []
    for some, what in ((diverged, "diverged"), ([s for s in failed if s not in diverged], "failed")):
        if some:
            text = f"{_count(some, 'run')} {what}; every mean here is over the others."
            notices.append(Notice("warning", text, [f"{s.run_id}: {s.detail}" for s in some]))
    return notices


def _data(task: TaskResults) -> list[Notice]:
    row = task.rows[0]
    if all(row["data_verified"] for row in task.rows):
        return []
    text = (
        f"{task.name}: the data is **not the published data** (its hash differs; {row['train_rows']:,} training and "
        f"{row['test_rows']:,} test rows)."
    )
    return [Notice("warning", text)]


def _masks(task: TaskResults) -> list[Notice]:
    notices = []

    def say(level: str, rows: Sequence[Row], text: str) -> None:
        if rows:
            ids = [row["run_id"] for row in rows]
            notices.append(Notice(level, f"{task.name}: {_count(rows, 'run')} {text}", ids))  # type: ignore[arg-type]

    pruned = [row for row in task.rows if row["compression"]]
    say(
        "warning",
        [row for row in task.rows if row["mask_effective"] is False],
        "in which pruned weights still affect the output: the mask is not effective.",
    )
    say(
        "note",
        [row for row in task.rows if row["mask_effective"] is None],
        "of which it cannot be told whether pruned weights affect the output.",
    )
    for note in dict.fromkeys(filter(None, (row["notes"] for row in task.rows))):
        say("note", [row for row in task.rows if row["notes"] == note], f"with a note: {note}.")
    say(
        "warning",
        [row for row in pruned if row["scope"] == "global" and not _exact(row)],
        "kept a number of weights other than requested.",
    )
    say(
        "warning",
        [row for row in pruned if row["layer_collapse"]],
        "in which a layer is empty while others are not.",
    )
    say(
        "note",
        [row for row in pruned if row["ties"] > 1],
        "with several scores equal to the threshold: the choice among them may have been made by index.",
    )
    cut = [row for row in pruned if row["effective_density"] is not None]
    say(
        "note",
        [row for row in cut if row["effective_density"] < row["density"]],
        "in which some kept weights are on no path from input to output.",
    )
    dead = [row for row in pruned if row["dead_units"]]
    if dead:
        most = max(dead, key=lambda row: row["dead_units"])
        say("note", dead, f"with dead units (without a live input or output), up to {most['dead_units']:,}.")
    return notices


def _scoring(task: TaskResults) -> list[Notice]:
    """Rows whose masks come from scores that were added in two ways."""
    uneven = [
        row
        for row in task.rows
        if row["compression"] and has_uneven_batches(row, of_rows=row["bleu_paper"] is None)
    ]
    old = [row["run_id"] for row in uneven if row["schema_version"] < 6]
    if not 0 < len(old) < len(uneven):
        return []
    text = f"{task.name}: {_count(old, 'run')} gave every scoring batch the same weight, the others weigh batches by their items."
    return [Notice("warning", text, old)]


def _exact(row: Row) -> bool:
    """floor(density * prunable); one apart where the product is a whole number that rounding misses."""
    return abs(row["kept"] - math.floor(row["target_density"] * row["prunable"])) <= 1


def _training(task: TaskResults) -> list[Notice]:
    never = []
    for row in task.rows:
        losses = [epoch["train_loss"] for epoch in task.epochs.get(row["run_id"], ())]
        if not math.isfinite(row["test_metric"]) or (
            len(losses) > 1 and not losses[-1] < LEARNING_LOSS_RATIO * losses[0]
        ):
            never.append(row["run_id"])
    if not never:
        return []
    text = f"{task.name}: {_count(never, 'run')} did not learn: the training loss did not fall."
    return [Notice("warning", text, never)]


def _pairing(task: TaskResults) -> list[Notice]:
    asked: dict[tuple[str, float], set[int]] = defaultdict(set)
    done: dict[tuple[str, float], set[int]] = defaultdict(set)
    for status in task.statuses:
        key = (status.spec.pruner, status.spec.compression)
        asked[key].add(status.spec.seed)
        if status.state == "done":
            done[key].add(status.spec.seed)
    notices = []
    missing = [
        f"{pruner} at {compression:g}: seeds {', '.join(map(str, sorted(seeds - done[pruner, compression])))}"
        for (pruner, compression), seeds in asked.items()
        if seeds - done[pruner, compression]
    ]
    if missing:
        text = f"{task.name}: seeds are missing; paired differences use the seeds that both sides have."
        notices.append(Notice("warning", text, missing))
    if all(len(seeds) < 2 for seeds in done.values()):
        text = f"{task.name}: one seed per cell: no interval, no comparison; a difference may be due to the seeds."
        notices.append(Notice("warning", text))
    elif done and max(map(len, done.values())) < 6:
        n = max(map(len, done.values()))
        text = (
            f"{task.name}: with {n} seeds no difference can have an exact p-value below {2.0 ** (1 - n):g}."
        )
        notices.append(Notice("note", text))
    return notices


def _code(inputs: ReportInputs) -> list[Notice]:
    notices = []
    rows = inputs.rows
    # a run that was resumed with other code has both
    shas = {sha for row in rows for sha in str(row["git_sha"]).split(",")}
    if len(shas) > 1:
        text = f"The runs come from {len(shas)} versions of the code."
        notices.append(Notice("note", text, sorted(shas)))
    if any(row["git_dirty"] for row in rows):
        notices.append(Notice("note", "Some runs come from code with uncommitted changes."))
    machines = {(row["cpu"], row["gpu"]) for row in rows}
    if len(machines) > 1:
        text = "The runs come from several kinds of machine: wall times are not comparable between them."
        notices.append(Notice("note", text, sorted(f"{cpu}, GPU: {gpu or 'none'}" for cpu, gpu in machines)))
    return notices


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _is(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"
