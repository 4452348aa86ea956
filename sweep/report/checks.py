"""Sanity of the science: what a reader has to know before trusting a conclusion."""

import math
from collections import defaultdict
from collections.abc import Sequence

from sweep.report.blocks import Notice
from sweep.report.inputs import Material, Row, TaskMaterial

NEVER_LEARNT = 0.99
"""A run has learnt if its last epoch's training loss is below this fraction of its first epoch's."""


def sanity(material: Material) -> list[Notice]:
    """Warnings first, then notes."""
    notices = [*_files(material), *_failures(material)]
    for task in material.tasks:
        notices += [*_data(task), *_masks(task), *_training(task), *_pairing(task)]
    notices += _code(material)
    return sorted(notices, key=lambda notice: notice.level != "warning")


def _files(material: Material) -> list[Notice]:
    if not material.problems:
        return []
    text = f"{_count(material.problems, 'file')} could not be used and {_is(material.problems)} left out."
    return [Notice("warning", text, material.problems)]


def _failures(material: Material) -> list[Notice]:
    failed = [status for status in material.statuses if status.state == "failed"]
    diverged = [status for status in failed if "loss is" in status.detail]
    notices = []
    for some, what in ((diverged, "diverged"), ([s for s in failed if s not in diverged], "failed")):
        if some:
            text = f"{_count(some, 'run')} {what}; every mean here is over the others."
            notices.append(Notice("warning", text, [f"{s.run_id}: {s.detail}" for s in some]))
    return notices


def _data(task: TaskMaterial) -> list[Notice]:
    row = task.rows[0]
    if all(row["data_verified"] for row in task.rows):
        return []
    text = (
        f"{task.name}: the data is **not the published data** (its hash is another one; {row['train_rows']:,} training and "
        f"{row['test_rows']:,} test rows)."
    )
    return [Notice("warning", text)]


def _masks(task: TaskMaterial) -> list[Notice]:
    notices = []

    def say(level: str, rows: Sequence[Row], text: str) -> None:
        if rows:
            ids = [row["run_id"] for row in rows]
            notices.append(Notice(level, f"{task.name}: {_count(rows, 'run')} {text}", ids))  # type: ignore[arg-type]

    pruned = [row for row in task.rows if row["compression"]]
    say(
        "warning",
        [row for row in task.rows if not row["mask_effective"]],
        "in which pruned weights still act on the output: the mask is not effective.",
    )
    say(
        "warning",
        [row for row in pruned if row["scope"] == "global" and not _exact(row)],
        "kept another number of weights than asked for.",
    )
    say(
        "warning",
        [row for row in pruned if row["layer_collapse"]],
        "in which a layer is empty while others are not.",
    )
    say(
        "note",
        [row for row in pruned if row["ties"] > 1],
        "with several scores equal to the threshold: which of those weights stay may have been decided by their index.",
    )
    cut = [row for row in pruned if row["effective_density"] is not None]
    say(
        "note",
        [row for row in cut if row["effective_density"] < row["density"]],
        "in which some kept weights lie on no path from input to output.",
    )
    dead = [row for row in pruned if row["dead_units"]]
    if dead:
        most = max(dead, key=lambda row: row["dead_units"])
        say("note", dead, f"with dead units (without a live input or output), up to {most['dead_units']:,}.")
    return notices


def _exact(row: Row) -> bool:
    """floor(density * prunable); one apart where the product is a whole number that rounding misses."""
    return abs(row["kept"] - math.floor(row["density_asked"] * row["prunable"])) <= 1


def _training(task: TaskMaterial) -> list[Notice]:
    never = []
    for row in task.rows:
        losses = [epoch["train_loss"] for epoch in task.epochs.get(row["run_id"], ())]
        if not math.isfinite(row["test_metric"]) or (
            len(losses) > 1 and not losses[-1] < NEVER_LEARNT * losses[0]
        ):
            never.append(row["run_id"])
    if not never:
        return []
    text = f"{task.name}: {_count(never, 'run')} never learnt: the training loss did not fall."
    return [Notice("warning", text, never)]


def _pairing(task: TaskMaterial) -> list[Notice]:
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
        text = f"{task.name}: seeds are missing; paired differences rest on the seeds that both sides have."
        notices.append(Notice("warning", text, missing))
    if all(len(seeds) < 2 for seeds in done.values()):
        text = f"{task.name}: one seed a cell: no interval, no comparison; a difference may be that of the seeds."
        notices.append(Notice("warning", text))
    elif done and max(map(len, done.values())) < 6:
        n = max(map(len, done.values()))
        text = (
            f"{task.name}: with {n} seeds no difference can have an exact p-value below {2.0 ** (1 - n):g}."
        )
        notices.append(Notice("note", text))
    return notices


def _code(material: Material) -> list[Notice]:
    notices = []
    rows = material.rows
    # a run that went on under other code has both
    shas = {sha for row in rows for sha in str(row["git_sha"]).split(",")}
    if len(shas) > 1:
        text = f"the runs are of {len(shas)} versions of the code."
        notices.append(Notice("note", text, sorted(shas)))
    if any(row["git_dirty"] for row in rows):
        notices.append(Notice("note", "some runs are of code with uncommitted changes."))
    machines = {(row["cpu"], row["gpu"]) for row in rows}
    if len(machines) > 1:
        text = "the runs are of several kinds of machine: wall times are not comparable between them."
        notices.append(Notice("note", text, sorted(f"{cpu}, GPU: {gpu or 'none'}" for cpu, gpu in machines)))
    return notices


def _count(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _is(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"
