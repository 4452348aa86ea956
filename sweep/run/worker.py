"""`python -m sweep.run ID --sweep FOLDER`: the process that executes one run, and how it ends."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweep.config.plugins import load_plugins, told
from sweep.core import streams
from sweep.core.env import slurm_job
from sweep.core.errors import BUSY, Cause, ExitCode, SweepError, UsageError, in_one_line, nearest
from sweep.core.signals import Stop, Stopped, stop_with_parent
from sweep.store.attempts import Attempt, Busy
from sweep.store.layout import AttemptNumber, RunPaths, SubmissionNumber, SweepPaths
from sweep.store.parquet import read_result
from sweep.store.run_record import RunRecord
from sweep.store.status import staleness
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
        again: make it anew although it is complete, and without its checkpoint.
        log: takes one line.
    """
    spec = read_runs(sweep).get(run_id)
    if spec is None:
        raise UsageError(f"sweep {sweep.name!r} has no run {run_id!r}{nearest(run_id, read_runs(sweep))}")
    paths = sweep.run(run_id)
    stamp = submission.data.get(spec.task)

    def complete() -> bool:
        row = _readable_result(sweep, spec)
        return row is not None and not staleness(row, stamp)

    if complete() and not again:
        log(f"{run_id} is complete")
        return ExitCode.OK
    try:
        attempt = Attempt.claim(paths)
    except Busy as busy:
        log(f"{run_id}: {busy}")
        return BUSY
    stop = Stop()
    stop.install()
    try:
        if complete() and not again:  # it was finished between the look and the claim
            attempt.end("done", None, ExitCode.OK)
            return ExitCode.OK
        _set_aside(paths, attempt.number, again)
        # the imports cost more than all of the above
        from sweep.config.run_spec import RunSpec
        from sweep.tasks.data.dataset import DataSource

        try:
            from sweep.run.device import memory_told
            from sweep.run.experiment import run_one
        except ImportError as error:  # no extension for this machine, or no torch
            raise SweepError(in_one_line(error)) from error

        plugins = [Path(path) for path in submission.plugins]
        load_plugins(plugins)
        run = RunSpec.from_record(spec)
        if run.id != run_id:
            raise SweepError(
                f"run {run_id}: this version's defaults give it the id {run.id}; launch under a new --name"
            )
        source = DataSource.from_env(submission.data_dir, submission.allow_unverified)
        log(f"attempt {attempt.number} of {run_id}")
        with memory_told(run.batch_size):
            row = run_one(run, paths, source, attempt, stop, sweep=sweep.name, plugins=plugins, log=log)
        stop.ignore()
        log(f"done: {row['metric']} {row['test_metric']:.2f}")
        attempt.end("done", None, ExitCode.OK)
        return ExitCode.OK
    except Stopped as stopped:
        stop.ignore()
        if complete():  # the signal came when there was nothing left to do
            attempt.end("done", None, ExitCode.OK)
            return ExitCode.OK
        log(f"stopped by {stopped}")
        code = ExitCode.INTERRUPTED if str(stopped) == "SIGINT" else ExitCode.INCOMPLETE
        attempt.end("interrupted", f"stopped by {stopped}", code, Cause.of_signal(str(stopped)))
        return code
    except SweepError as error:
        stop.ignore()
        log(f"error: {error}")
        attempt.end("failed", str(error), ExitCode.FAILED, error.cause)
        return ExitCode.FAILED
    except (Exception, SystemExit) as error:
        stop.ignore()
        traceback.print_exc()
        attempt.end("failed", told(error, map(Path, submission.plugins)), ExitCode.FAILED)
        return ExitCode.FAILED


def _readable_result(sweep: SweepPaths, spec: RunRecord) -> dict[str, Any] | None:
    """The result's row; None where there is none or it is damaged. A newer schema is an error: it must not be overwritten."""
    paths = sweep.run(spec.id)
    try:
        if paths.folder.exists() or not sweep.collected.is_dir():
            return read_result(paths.result)
        # on demand: runs that are started from a launch have a directory
        from sweep.store.collection import row_alone

        return row_alone(sweep, spec.id, spec.task)
    except UsageError:
        raise
    except SweepError:
        return None


def _set_aside(paths: RunPaths, attempt: AttemptNumber, again: bool) -> None:
    """Keep what this attempt will replace, under the attempt's number; the result first, so that no half is taken for whole."""
    for table in (paths.result, paths.layers, paths.epochs):
        if table.exists():
            table.rename(paths.superseded(table, attempt))
    if again:
        paths.checkpoint.unlink(missing_ok=True)


def main() -> int:
    """Command line of the processes that engines start; people use `sweep run`."""
    parser = argparse.ArgumentParser(prog="python -m sweep.run", description=__doc__)
    parser.add_argument("run_id", metavar="ID")
    parser.add_argument("--sweep", type=Path, required=True, metavar="FOLDER", help="the sweep's folder")
    parser.add_argument(
        "--submission",
        type=lambda text: SubmissionNumber(int(text)),
        metavar="N",
        help="whose data and plug-ins to use (default: the latest)",
    )
    parser.add_argument("--again", action="store_true", help="make it anew although it is complete")
    arguments = parser.parse_args()
    if slurm_job():
        stop_with_parent()
    streams.install()
    sweep = SweepPaths(arguments.sweep.absolute())
    try:
        number = arguments.submission
        submission = Submission.read(sweep, number) if number else latest_submission(sweep, arguments.run_id)
        return execute(sweep, arguments.run_id, submission, again=arguments.again, log=_log)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _log(line: str) -> None:
    print(line, flush=True)
