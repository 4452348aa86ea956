"""`sweep logs`."""

import time
from pathlib import Path

from sweep.cli.find_run import find_run
from sweep.core.errors import UsageError
from sweep.executors.status import current_status
from sweep.store.layout import SweepPaths, existing_sweep

_FOLLOW_SECONDS = 1.0


def print_logs(
    which: str, name: str | None, failed: bool, lines: int, follow: bool, results: Path | None
) -> None:
    """Print the last `lines` lines of one run's log, or of every failed run's of the sweep `which`.

    A run is looked for in the sweep `name`, or in all. With `follow` keep printing what is added to its log until it has ended.
    """
    if failed and follow:
        raise UsageError("--follow follows one run; give its id in place of --failed")
    if failed and name is not None:
        raise UsageError(f"--name {name}: --failed takes the sweep as its argument; leave --name out")
    if not failed:
        sweep, run_id = find_run(which, name, results, "add --failed, or give the id of a run")
        log = _log_of(sweep, run_id)
        if log is None and not follow:
            raise UsageError(f"{run_id} has no log yet; it has not started")
        size = _print_end(log, lines) if log else 0
        if follow:
            _follow(sweep, run_id, size)
        return
    sweep = existing_sweep(which, results)
    runs = [status.run_id for status in current_status(sweep)[0] if status.state == "failed"]
    if not runs:
        print(f"no failed run in {which}")
    for run_id in runs:
        log = _log_of(sweep, run_id)
        if log is None:
            print(f"==> {run_id} has no log")
        else:
            _print_end(log, lines)


def _log_of(sweep: SweepPaths, run_id: str) -> Path | None:
    """The run's own log; if it did not even start, that of its Slurm job."""
    log = sweep.run(run_id).log
    if log.is_file():
        return log
    if not sweep.arrays.is_dir():
        return None
    from sweep.executors.slurm.job_status import job_log

    return job_log(sweep, run_id)


def _print_end(log: Path, lines: int) -> int:
    """Print the last lines; returns the size up to there, in bytes."""
    content = log.read_bytes()
    print(f"==> {log}")
    print("\n".join(content.decode("utf-8", errors="replace").splitlines()[-lines:]), flush=True)
    return len(content)


def _follow(sweep: SweepPaths, run_id: str, size: int) -> None:
    log = sweep.run(run_id).log
    while True:
        status = next(status for status in current_status(sweep)[0] if status.run_id == run_id)
        if log.is_file():
            with log.open("rb") as file:
                file.seek(size)
                text = file.read()
            size += len(text)
            print(text.decode("utf-8", errors="replace"), end="", flush=True)
        if not status.job and status.state != "running":
            return
        time.sleep(_FOLLOW_SECONDS)
