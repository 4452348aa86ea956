"""What is done, running, failed or unknown, by the files alone."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sweep.core.errors import Cause, ExitCode, SweepError, UsageError
from sweep.core.plugin_code import PluginCode
from sweep.store.attempts import Claim, latest, liveness, read_progress
from sweep.store.layout import RunPaths, SweepPaths
from sweep.store.parquet import MANY_RESULTS, read_result
from sweep.store.run_record import RunRecord
from sweep.store.schema import DENSE, NewerSchema
from sweep.store.submissions import DataStamp, current_data, launched_runs, submissions

State = Literal["done", "running", "pending", "interrupted", "failed", "stale", "unknown"]

STATES: dict[State, str] = {
    "done": "its result is complete, for the current data, pipeline and plug-in code",
    "running": "an attempt is alive",
    "pending": "not started: waiting in Slurm's queue, or never launched",
    "interrupted": "stopped, killed or lost; the launch command resumes from its checkpoint",
    "failed": "ended with an error (`sweep logs NAME --failed` shows more); a launch with --retry failed runs it again",
    "stale": "its result is of other data, code or scoring than the current, or damaged; the launch command runs it again",
    "unknown": "silent on another machine for too short a time to be lost; or Slurm does not answer; or a newer prunesweep's",
}

KILLED = "killed; no error was recorded"
"""The detail of a run whose last attempt has no end in its file."""


@dataclass(frozen=True)
class RunStatus:
    """The state of one run.

    `cause` says why it ended or does not start, where anything depends on that; `detail` says it in words. `job` is the Slurm job
    that has it, waiting or running; empty if none has. `rerun` of a run that is done: how a later attempt ended, which was to
    replace its result and did not.
    """

    run_id: str
    spec: RunRecord
    state: State
    detail: str = ""
    attempts: int = 0
    cause: Cause | None = None
    exit_status: int | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    job: str = ""
    row: Mapping[str, Any] | None = None
    rerun: State | None = None

    def of_rerun(self) -> "RunStatus":
        """For whoever asked for the run to be executed again: the end of that attempt, not the result that it left in place."""
        return replace(self, state=self.rerun) if self.rerun else self


ReadResult = Callable[[Path], dict[str, Any] | None]


def survey(
    sweep: SweepPaths,
    data: Mapping[str, DataStamp] | None = None,
    specs: Mapping[str, RunRecord] | None = None,
) -> list[RunStatus]:
    """The state of runs of a sweep. For those that have not started no file is opened, which on a file server takes time.

    Args:
        sweep: where.
        data: per task the current data; by default that of the latest submissions.
        specs: the runs by id; by default all of the sweep, in the grid's order.

    Results are read out of the sweep's collection where it has one (`sweep collect`) or many runs have started, since a file for
    each run takes some milliseconds.
    """
    launches = submissions(sweep) if data is None or specs is None else []
    data = current_data(sweep, launches) if data is None else data
    specs = launched_runs(sweep, launches) if specs is None else specs
    started = set(os.listdir(sweep.runs)) if sweep.runs.is_dir() else set()
    read, alone = _reader(sweep, len(started))
    started |= alone
    return [
        examine(sweep.run(run_id), spec, data.get(spec.task), read)
        if run_id in started
        else RunStatus(run_id, spec, "pending")
        for run_id, spec in specs.items()
    ]


def _reader(sweep: SweepPaths, started: int) -> tuple[ReadResult, frozenset[str]]:
    """What reads a run's result file, and the runs whose results are in the collection alone."""
    if started < MANY_RESULTS and not sweep.collected.is_dir():
        return read_result, frozenset()
    from sweep.store.collection import RowReader  # on demand: most sweeps are small and have no collection

    reader = RowReader(sweep)
    return reader, reader.alone


def examine(
    run: RunPaths, spec: RunRecord, stamp: DataStamp | None, read: ReadResult = read_result
) -> RunStatus:
    """The state of one run. A live attempt comes first, then the result, then how the last attempt ended."""
    claim = latest(run)
    attempts = claim.number if claim else 0

    def status(state: State, detail: str = "", **more: Any) -> RunStatus:
        return RunStatus(spec.id, spec, state, detail, attempts, **more)

    life = liveness(run, claim) if claim else "ended"
    if claim and life == "live":
        return status("running", progress=read_progress(run, claim))
    result = check_result(run, stamp, read)
    rerun = bool(claim and claim.outcome != "done" and (result.row or {"attempt": 0})["attempt"] < attempts)
    if result.state == "done" and rerun and claim:
        outcome: State = "failed" if claim.outcome == "failed" else "interrupted"
        detail = _kept(claim, result.row)
        return status("done", detail, cause=claim.cause, row=result.row, rerun=outcome)
    if result.state is not None and not (result.state == "stale" and rerun):
        return status(result.state, result.detail, row=result.row)
    if not claim:
        return status("pending")
    if life == "unknown":
        return status("unknown", f"no heartbeat from {claim.content.get('host')} for over a minute")
    ended = {"exit_status": claim.content.get("exit_status"), "cause": claim.cause}
    if claim.outcome == "failed":
        return status("failed", claim.content.get("error") or "", **ended)
    return status("interrupted", claim.content.get("error") or KILLED, **ended)


def _kept(claim: Claim, row: Mapping[str, Any] | None) -> str:
    """What became of an attempt to make a result again."""
    error = claim.content.get("error") or KILLED
    of = f"attempt {row['attempt']}" if row else "an earlier attempt"
    return f"the result is of {of}; attempt {claim.number} {claim.outcome or 'ended'}: {error}"


@dataclass(frozen=True)
class ResultCheck:
    """What a run's result file says, whatever its attempts say. `state` is None where there is no file."""

    state: Literal["done", "stale", "unknown"] | None
    detail: str = ""
    row: Mapping[str, Any] | None = None


def check_result(run: RunPaths, stamp: DataStamp | None, read: ReadResult = read_result) -> ResultCheck:
    """Whether a run is complete: its result is whole, and of the data and pipeline of `stamp`, if that is known."""
    try:
        row = read(run.result)
    except NewerSchema as error:
        return ResultCheck("unknown", str(error))
    except SweepError as error:
        return ResultCheck("stale", str(error))
    if row is None:
        return ResultCheck(None)
    reason = staleness(row, stamp)
    return ResultCheck("stale" if reason else "done", reason, row)


def is_complete(sweep: SweepPaths, spec: RunRecord, stamp: DataStamp | None) -> bool:
    """Whether one run is complete, for the process that is to execute it.

    Raises:
        UsageError: the result is of a newer prunesweep, and must not be overwritten.
    """

    def read(path: Path) -> dict[str, Any] | None:
        if path.parent.exists() or not sweep.collected.is_dir():
            return read_result(path)
        from sweep.store.collection import row_alone  # on demand: runs of a launch have a directory

        return row_alone(sweep, spec.id, spec.task)

    result = check_result(sweep.run(spec.id), stamp, read)
    if result.state == "unknown":
        raise UsageError(result.detail)
    return result.state == "done"


def staleness(row: Mapping[str, Any], stamp: DataStamp | None) -> str:
    """Why a result does not count for the data and pipeline of `stamp`; empty if it does."""
    if stamp is None:
        return ""
    if row["data_hash"] != stamp.data_hash:
        return f"data {row['data_hash'][:12]}, now {stamp.data_hash[:12]}"
    if row["pipeline_version"] != stamp.pipeline_version:
        return f"pipeline version {row['pipeline_version']}, now {stamp.pipeline_version}"
    for code in (stamp.task_code, stamp.pruner_code.get(row["pruner"])):
        if code and not _is_by(row, code):
            return f"plug-in {code.name} has changed since"
    if _weighed_otherwise(row, stamp):
        return f"its scoring batches all counted the same, now by their {stamp.weighed_by[row['pruner']]}"
    return ""


def _weighed_otherwise(row: Mapping[str, Any], stamp: DataStamp) -> bool:
    """Whether a result's scores would be others now: before schema 6 every batch counted the same, whatever its size."""
    by = stamp.weighed_by.get(row["pruner"])
    return by is not None and row["schema_version"] < 6 and has_uneven_batches(row, of_rows=by == "rows")


def has_uneven_batches(row: Mapping[str, Any], *, of_rows: bool) -> bool:
    """Whether the batches of a result's scores differ in what their losses are means over: rows, or items such as tokens."""
    samples, size = row["score_samples"], row["score_batch_size"]
    # batches of equally many rows have hardly ever equally many tokens
    return bool(samples > size and (not of_rows or samples % size))


def _is_by(row: Mapping[str, Any], code: PluginCode) -> bool:
    """Whether a result was computed by this code of a plug-in; the name of its file does not matter."""
    digests = json.loads(row["plugins"] or "{}").values()
    return code.digest in digests or (row["schema_version"] < 6 and code.file in digests)


def counts(statuses: list[RunStatus]) -> dict[State, int]:
    """How many runs are in each state that occurs, in the order of `STATES`."""
    by_state = Counter(status.state for status in statuses)
    return {state: by_state[state] for state in STATES if by_state[state]}


def pruners_of(statuses: Iterable[RunStatus], task: str) -> list[str]:
    """The pruners of a task's runs in the grid's order; `dense` only where it is alone."""
    names = list(dict.fromkeys(status.spec.pruner for status in statuses if status.spec.task == task))
    return [name for name in names if name != DENSE] or names


def exit_code(statuses: Iterable[RunStatus]) -> ExitCode:
    """What a command about these runs ends with."""
    states = {status.state for status in statuses}
    if "failed" in states:
        return ExitCode.FAILED
    return ExitCode.OK if states <= {"done"} else ExitCode.INCOMPLETE
