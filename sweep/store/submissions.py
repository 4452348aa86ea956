"""What a sweep consists of, on disk: its grid, its runs, its submissions."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Any, Self

from sweep.core.atomic_files import create, write_text
from sweep.core.errors import StorageError, UsageError
from sweep.core.plugin_code import PluginCode
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.lock import PATIENCE, locked
from sweep.store.run_record import RunRecord


@dataclass(frozen=True)
class DataStamp:
    """Which data of a task, through which pipeline and by which code of plug-ins: a result is complete only for the current ones.

    `task_code` is of the plug-in that has the task, `pruner_code` by pruner of those that have pruners; what is the project's own
    is not in them. `weighed_by` has for each pruner that scores with data what the loss of a scoring batch is weighed by: "rows",
    or "items" of the task's own, such as tokens. Launches before schema 6, by which all batches counted the same, say nothing.
    """

    data_hash: str
    data_verified: bool
    pipeline_version: int
    task_code: PluginCode | None = None
    pruner_code: Mapping[str, PluginCode] = field(default_factory=dict)
    weighed_by: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The stamp as a submission's file holds it; older ones have no code."""
        task_code = content.get("task_code")
        pruner_code = content.get("pruner_code") or {}
        return cls(
            **dict(content)
            | {
                "task_code": PluginCode(**task_code) if task_code else None,
                "pruner_code": {pruner: PluginCode(**code) for pruner, code in pruner_code.items()},
            }
        )

    def after(self, earlier: "DataStamp | None") -> "DataStamp":
        """This stamp with what an earlier launch knew of pruners that this one does not have."""
        if earlier is None:
            return self
        return replace(
            self,
            pruner_code={**earlier.pruner_code, **self.pruner_code},
            weighed_by={**earlier.weighed_by, **self.weighed_by},
        )


@dataclass(frozen=True)
class Submission:
    """One launch: written once, never changed. What its runs need to know beyond their specifications."""

    runs: list[str]
    data: dict[str, DataStamp]
    data_dir: str | None = None
    allow_unverified: bool = False
    plugins: list[str] = field(default_factory=list)
    engine: str = "local"
    slurm: dict[str, Any] | None = None
    argv: list[str] = field(default_factory=lambda: list(sys.argv))
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self, sweep: SweepPaths) -> SubmissionNumber:
        """Write it under the next free number, which is returned."""
        number = SubmissionNumber(max(_numbers(sweep), default=0) + 1)
        # escaped, since a path that is not UTF-8 has characters that cannot be written otherwise
        while not create(sweep.submission(number), json.dumps(asdict(self), indent=1)):
            number = SubmissionNumber(number + 1)
        return number

    @classmethod
    def read(cls, sweep: SweepPaths, number: SubmissionNumber) -> Self:
        """Read submission `number`. Raises StorageError if its file is damaged."""
        path = sweep.submission(number)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            content["data"] = {task: DataStamp.from_json(stamp) for task, stamp in content["data"].items()}
            submission = cls(**content)
            _require(submission, runs=list, data_dir=str | None, plugins=list, engine=str, slurm=dict | None)
            for stamp in submission.data.values():
                _require(stamp, data_hash=str, pipeline_version=int)
            return submission
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error


def register_runs(
    sweep: SweepPaths, grid: str, runs: Iterable[RunRecord], patience: float = PATIENCE
) -> None:
    """Add `runs` to the sweep's, and keep the grid they come from.

    A sweep may grow: by a task that was left out, more seeds, another pruner. What it may not do is to change its mind: at each
    of its coordinates (task, pruner, compression, seed) the specification stays what it was.

    Args:
        sweep: where.
        grid: the resolved grid as YAML.
        runs: `RunSpec.to_record()` of each.
        patience: seconds to wait for another process that is at it.

    Raises:
        Locked: another process still is.
        UsageError: the sweep has another run at the same coordinates.
    """
    requested = list(runs)
    with locked(sweep.directory, patience):
        known = check_consistent(sweep, requested)
        # the grid first: a sweep is one that has a grid, and a launch that is killed in between is repeated
        write_text(sweep.grid, grid)
        if added := [run for run in requested if run.id not in known]:
            # those of an older or newer version stay as they are
            lines = sweep.runs_list.read_text(encoding="utf-8").splitlines() if known else []
            lines += [json.dumps(run.to_json()) for run in added]
            write_text(sweep.runs_list, "".join(f"{line}\n" for line in lines))


def check_consistent(sweep: SweepPaths, runs: Iterable[RunRecord]) -> dict[str, RunRecord]:
    """The sweep's runs by id, none of which `runs` would change; `register_runs` says what that means, and what it raises."""
    known = read_runs(sweep)
    taken = {_coordinates(run): run for run in known.values()}
    for run in runs:
        old = taken.get(_coordinates(run), run)
        before, now = old.to_json(), run.to_json()
        changed = [name for name in now if name != "id" and before[name] != now[name]]
        if changed:
            raise UsageError(
                f"the sweep {sweep.name!r} has {old.id} with {changed[0]} = {before[changed[0]]!r}, this launch asks for "
                f"{now[changed[0]]!r}; launch it under another name with --name"
            )
    return known


def _coordinates(run: RunRecord) -> tuple[str, str, float, int]:
    return run.task, run.pruner, run.compression, run.seed


def read_runs(sweep: SweepPaths) -> dict[str, RunRecord]:
    """The sweep's runs by id, in the grid's order; empty if it has never been launched. Raises StorageError if damaged."""
    try:
        lines = sweep.runs_list.read_text(encoding="utf-8").splitlines()
        if not lines:  # a launch without runs writes no list
            raise ValueError("no run in it")
        return {run.id: run for run in map(RunRecord.from_json, map(json.loads, lines))}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, LookupError, TypeError) as error:
        raise _damaged(sweep.runs_list, error) from error


def launched_runs(sweep: SweepPaths, launches: Iterable[Submission]) -> dict[str, RunRecord]:
    """As `read_runs`. Raises StorageError also where the list lacks runs of `launches`: one cut short between lines."""
    launched = {run_id for launch in launches for run_id in launch.runs}
    runs = read_runs(sweep)  # after the submissions: a launch writes its runs before
    if lost := launched - runs.keys():
        raise StorageError(
            f"{sweep.runs_list} lacks {len(lost)} of the runs that were launched, such as {min(lost)}; "
            "repeat the launch command, which adds them"
        )
    return runs


def latest_submission(sweep: SweepPaths, run_id: str) -> Submission:
    """The last launch that had the run. Raises UsageError if there is none."""
    for number in sorted(_numbers(sweep), reverse=True):
        submission = Submission.read(sweep, number)
        if run_id in submission.runs:
            return submission
    raise UsageError(f"sweep {sweep.name!r} has never launched {run_id}; use the launch command")


def submissions(sweep: SweepPaths) -> list[Submission]:
    """All launches of the sweep, the latest last."""
    return [Submission.read(sweep, number) for number in sorted(_numbers(sweep))]


def current_data(sweep: SweepPaths, launches: Iterable[Submission] | None = None) -> dict[str, DataStamp]:
    """For each task the data of the latest of `launches` that used it; by default they are read."""
    stamps: dict[str, DataStamp] = {}
    for launch in submissions(sweep) if launches is None else launches:
        stamps |= {task: stamp.after(stamps.get(task)) for task, stamp in launch.data.items()}
    return stamps


def _require(thing: object, **kinds: type | UnionType) -> None:
    """Raise TypeError unless the attributes of `thing` are of these kinds."""
    for name, kind in kinds.items():
        if not isinstance(value := getattr(thing, name), kind):
            raise TypeError(f"{name} is of type {type(value).__name__}")


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{path} is damaged ({error}); delete it and repeat the launch command, which writes it again"
    )


def _numbers(sweep: SweepPaths) -> list[SubmissionNumber]:
    return [
        SubmissionNumber(int(path.stem)) for path in sweep.submissions.glob("*.json") if path.stem.isdecimal()
    ]
