"""What a sweep consists of, on disk: its grid, its runs, its submissions."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from sweep.errors import UsageError
from sweep.files import create, write_text
from sweep.paths import SweepPaths


@dataclass(frozen=True)
class DataStamp:
    """Which data, through which pipeline: a result is complete only for the current one."""

    data_hash: str
    data_verified: bool
    pipeline_version: int


@dataclass(frozen=True)
class Submission:
    """One launch: written once, never changed. What its runs need to know beyond their specifications."""

    runs: list[str]
    data: dict[str, DataStamp]
    data_dir: str | None = None
    allow_unverified: bool = False
    plugins: list[str] = field(default_factory=list)
    engine: str = "local"
    argv: list[str] = field(default_factory=lambda: list(sys.argv))
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self, sweep: SweepPaths) -> int:
        """Write it under the next free number, which is returned."""
        number = max(_numbers(sweep), default=0) + 1
        while not create(sweep.submission(number), json.dumps(asdict(self), indent=1, ensure_ascii=False)):
            number += 1
        return number

    @classmethod
    def read(cls, sweep: SweepPaths, number: int) -> Self:
        content = json.loads(sweep.submission(number).read_text(encoding="utf-8"))
        content["data"] = {task: DataStamp(**stamp) for task, stamp in content["data"].items()}
        return cls(**content)


def record(sweep: SweepPaths, grid: str, runs: Iterable[dict[str, Any]]) -> None:
    """Write the grid and its runs, or check them against what the sweep already has.

    A sweep may grow (more seeds, another pruner): its earlier runs must all be among the new ones.

    Args:
        sweep: where.
        grid: the resolved grid as YAML.
        runs: `{"id": ..., **spec}` for every run of the whole grid.

    Raises:
        UsageError: the name is taken by a sweep with runs that this grid lacks.
    """
    new = {run["id"]: run for run in runs}
    old = read_runs(sweep)
    if missing := [run_id for run_id in old if run_id not in new]:
        raise UsageError(
            f"the sweep {sweep.name!r} has {len(missing)} runs that this grid lacks (such as {missing[0]}); "
            "launch the changed grid under another name with --name"
        )
    if set(new) != set(old):
        write_text(
            sweep.runs_list, "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in new.values())
        )
        write_text(sweep.grid, grid)


def read_runs(sweep: SweepPaths) -> dict[str, dict[str, Any]]:
    """The sweep's runs by id, in the grid's order; empty if it has never been launched."""
    try:
        lines = sweep.runs_list.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {run["id"]: run for run in map(json.loads, lines)}


def latest_submission(sweep: SweepPaths) -> Submission:
    """The last launch. Raises UsageError if there has been none."""
    numbers = _numbers(sweep)
    if not numbers:
        raise UsageError(f"sweep {sweep.name!r} has never been launched; launch it first")
    return Submission.read(sweep, max(numbers))


def current_data(sweep: SweepPaths) -> dict[str, DataStamp]:
    """For each task the data of the latest submission that used it."""
    stamps: dict[str, DataStamp] = {}
    for number in sorted(_numbers(sweep)):
        stamps |= Submission.read(sweep, number).data
    return stamps


def _numbers(sweep: SweepPaths) -> list[int]:
    return [int(path.stem) for path in sweep.submissions.glob("*.json") if path.stem.isdigit()]
