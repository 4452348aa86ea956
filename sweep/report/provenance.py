"""Where the numbers come from."""

from collections.abc import Sequence
from statistics import median

from sweep.report.blocks import Block, Column, Line, Points, Table, Text, compact, word
from sweep.report.inputs import Material, Row


def provenance(material: Material) -> list[Block]:
    """Data, code, machine, attempts; and the runs that are missing."""
    rows = material.rows
    lines = [_data(task.rows) for task in material.tasks]
    effective = sum(bool(row["mask_effective"]) for row in rows)
    dirty = {row["git_dirty"] for row in rows}
    code = (
        "no uncommitted changes"
        if dirty == {False}
        else f"uncommitted changes: {_distinct(rows, 'git_dirty')}"
    )
    lines += [
        f"masks effective (outputs unchanged when pruned weights are scrambled): {effective} of {len(rows)} runs",
        f"code {_distinct(rows, 'git_sha')} ({code}); prunesweep {_distinct(rows, 'prunesweep_version')}, torch "
        f"{_distinct(rows, 'torch_version')}, Python {_distinct(rows, 'python_version')}",
        f"{_distinct(rows, 'cpu')} ({_distinct(rows, 'cpu_capability')}), threads a run: {_distinct(rows, 'threads')}, "
        f"precision: {_distinct(rows, 'precision')}, GPU: {_distinct(rows, 'gpu')}",
        f"plug-ins: {_distinct(rows, 'plugins')}",
        f"{sum(row['attempt'] - 1 for row in rows)} attempts beyond the first, {sum(row['resumed'] for row in rows)} resumed",
        f"median {median(row['seconds_total'] for row in rows):.1f} s a run, of which training "
        f"{median(row['seconds_train'] for row in rows):.1f} s",
    ]
    blocks: list[Block] = [Points(lines)]
    if retried := [row for row in rows if row["retries"]]:
        told = [f"`{row['run_id']}`: {row['retry_history']}" for row in retried]
        text = f"{sum(row['retries'] for row in retried)} retries, for want of memory, with their node or at a time limit:"
        blocks += [Text(text), Points(told)]
    if missing := _missing(material):
        blocks.append(missing)
    else:
        blocks.append(Text("No run is missing."))
    return blocks


def _data(rows: Sequence[Row]) -> str:
    row = rows[0]
    verified = "the published hash" if row["data_verified"] else "**not the published data**"
    return (
        f"{row['task']}: {row['train_rows']:,} training and {row['test_rows']:,} test rows, {verified}; data hash "
        f"`{row['data_hash']}`, pipeline version {row['pipeline_version']}"
    )


def _distinct(rows: Sequence[Row], column: str) -> str:
    return ", ".join(dict.fromkeys("none" if row[column] is None else str(row[column]) for row in rows))


def _missing(material: Material) -> Table | None:
    columns = [
        Column("state", number=False),
        Column("attempts"),
        Column("run", number=False),
        Column("why", number=False),
    ]
    lines = [
        Line(
            [word(status.state), compact(status.attempts), word(status.run_id), word(status.detail)],
            status.spec.pruner,
            status.spec.seed,
        )
        for status in material.statuses
        if status.state != "done"
    ]
    return Table("missing", "Runs that are in no table.", columns, lines) if lines else None
