"""`python -m sweep.run ID --sweep DIR`: the process that executes one run, and how it ends."""

import argparse
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.config.plugins import format_error, load_plugins
from sweep.core import streams
from sweep.core.env import slurm_job
from sweep.core.errors import (
    BUSY,
    Cause,
    ExitCode,
    FullDiskError,
    SweepError,
    UsageError,
    nearest,
    summarise_exception,
)
from sweep.core.signals import Stopped, StopRequest, stop_with_parent
from sweep.store.attempts import Attempt, Busy
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.parquet import read_result
from sweep.store.run_record import RunRecord
from sweep.store.status import is_complete
from sweep.store.submissions import Submission, latest_submission, read_runs


def execute(
    sweep: SweepPaths,
    run_id: str,
    submission: Submission,
    *,
    again: bool = False,
    log: Callable[[str], None] = print,
) -> int:
    """Execute a run unless it is complete or held by another; returns the exit code.

    Args:
        sweep: the sweep it belongs to.
        run_id: its id.
        submission: where the data is and which plug-ins are needed.
        again: execute it although it is complete, and without its checkpoint.
        log: takes one line.
    """
    spec = read_runs(sweep).get(run_id)
    if spec is None:
        raise UsageError(f"sweep {sweep.name!r} has no run {run_id!r}{nearest(run_id, read_runs(sweep))}")
    stamp = submission.data.get(spec.task)
    # asked with `again`, too: it raises for a result that must not be overwritten
    if is_complete(sweep, spec, stamp) and not again:
        log(f"{run_id} is complete")
        return ExitCode.OK
    try:
        attempt = Attempt.claim(sweep.run(run_id))
    except Busy as busy:
        log(f"{run_id}: {busy}")
        return BUSY
    stop = StopRequest()
    stop.install()
    try:
        # another attempt may have finished it before the claim
        if not is_complete(sweep, spec, stamp) or again:
            _carry_out(sweep, spec, submission, attempt, stop, again, log)
        stop.ignore()
        end = _End("done", None, ExitCode.OK)
    except Stopped as stopped:
        stop.ignore()
        # the signal may have come when there was nothing left to do
        end = _End("done", None, ExitCode.OK) if _has_finished(attempt) else _stopped(stopped, log)
    except FullDiskError as error:  # no fault of the run, which is to be resumed when there is room
        stop.ignore()
        log(f"error: {error}")
        end = _End("interrupted", str(error), ExitCode.INCOMPLETE, error.cause)
    except SweepError as error:
        stop.ignore()
        log(f"error: {error}")
        end = _End("failed", str(error), ExitCode.FAILED, error.cause)
    except (Exception, SystemExit) as error:
        stop.ignore()
        _print_traceback(error)
        end = _End("failed", format_error(error, map(Path, submission.plugins)), ExitCode.FAILED)
    attempt.end(end.outcome, end.error, end.code, end.cause)
    return end.code


@dataclass(frozen=True)
class _End:
    """How an attempt ended, and what its process exits with."""

    outcome: Literal["done", "failed", "interrupted"]
    error: str | None
    code: ExitCode
    cause: Cause | None = None


def _stopped(stopped: Stopped, log: Callable[[str], None]) -> _End:
    log(f"stopped by {stopped}")
    code = ExitCode.INTERRUPTED if str(stopped) == "SIGINT" else ExitCode.INCOMPLETE
    return _End("interrupted", f"stopped by {stopped}", code, Cause.of_signal(str(stopped)))


def _print_traceback(error: BaseException) -> None:
    """Print the traceback without the calls in this file, which are those of every run: `sweep logs` shows 20 lines."""
    calls = error.__traceback__
    while calls and calls.tb_next and calls.tb_frame.f_code.co_filename == __file__:
        calls = calls.tb_next
    traceback.print_exception(type(error), error, calls)


def _carry_out(
    sweep: SweepPaths,
    spec: RunRecord,
    submission: Submission,
    attempt: Attempt,
    stop: StopRequest,
    again: bool,
    log: Callable[[str], None],
) -> None:
    """Execute the claimed run; afterwards no signal is heeded."""
    # on demand: these imports cost more than finding out that there is nothing to do
    from sweep.config.run_spec import RunSpec
    from sweep.tasks.data.dataset import DataSource

    try:
        from sweep.run.device import explain_out_of_memory
        from sweep.run.experiment import run_one
        from sweep.run.seeds import seed_globals
    except ImportError as error:  # no extension for this machine, or no torch
        raise SweepError(summarise_exception(error)) from error

    plugins = [Path(path) for path in submission.plugins]
    seed_globals(spec.seed, "plug-ins")
    load_plugins(plugins)
    run = RunSpec.from_record(spec)
    if run.id != spec.id:
        raise SweepError(
            f"run {spec.id}: this version's defaults give it the id {run.id}; launch it with a new --name"
        )
    source = DataSource.from_env(submission.data_dir, submission.allow_unverified)
    log(f"attempt {attempt.number} of {run.id}")
    with explain_out_of_memory(run.batch_size):
        row = run_one(run, source, attempt, stop, again=again, sweep=sweep.name, plugins=plugins, log=log)
    stop.ignore()
    log(f"done: {row.metric} {row.test_metric:.2f}")


def _has_finished(attempt: Attempt) -> bool:
    """Whether the run's result is of this attempt: one of an earlier attempt may be there, too."""
    try:
        row = read_result(attempt.run.result)
    except SweepError:  # of another version, or damaged: not written by this process
        return False
    return row is not None and row["attempt"] == attempt.number


def main() -> int:
    """Command line of the processes that executors start; people use `sweep run`."""
    parser = argparse.ArgumentParser(prog="python -m sweep.run", description=__doc__)
    parser.add_argument("run_id", metavar="ID")
    parser.add_argument("--sweep", type=Path, required=True, metavar="DIR", help="the sweep's directory")
    parser.add_argument(
        "--submission",
        type=lambda text: SubmissionNumber(int(text)),
        metavar="N",
        help="whose data and plug-ins to use (default: the latest)",
    )
    parser.add_argument("--again", action="store_true", help="run it again although it is complete")
    arguments = parser.parse_args()
    if slurm_job():
        stop_with_parent()
    streams.install()
    sweep = SweepPaths(arguments.sweep.absolute())
    try:
        chosen = arguments.submission
        submission = Submission.read(sweep, chosen) if chosen else latest_submission(sweep, arguments.run_id)
        return execute(sweep, arguments.run_id, submission, again=arguments.again, log=_log)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _log(line: str) -> None:
    print(line, flush=True)
