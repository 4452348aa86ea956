"""What a task of an array does: execute its runs, try them out, or submit again what another job may finish."""

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sweep.core.env import slurm_job
from sweep.core.errors import Cause, ExitCode, SweepError
from sweep.executors.local.executor import LocalExecutor
from sweep.executors.slurm.launch import SlurmRequest, submit_missing
from sweep.executors.slurm.manifest import JobKind, Manifest
from sweep.executors.slurm.on_node.requeue import requeue
from sweep.run.smoke import try_out
from sweep.store.attempts import latest
from sweep.store.layout import ArrayPaths, SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus, examine, exit_code
from sweep.store.submissions import Submission, read_runs
from sweep.terminal.progress import PlainDisplay

_WARNINGS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class _Task:
    """Task `index` of an array, and the specifications of its runs by id."""

    array: ArrayPaths
    index: int
    manifest: Manifest
    sweep: SweepPaths
    submission: Submission
    specs: Mapping[str, RunRecord]

    @classmethod
    def read(cls, manifest_path: Path, index: int) -> "_Task":
        array = ArrayPaths(manifest_path.parent)
        sweep = SweepPaths(array.directory.parent.parent)
        manifest = Manifest.read(array.manifest)
        known = read_runs(sweep)
        specs = {run_id: known[run_id] for run_id in manifest.tasks[index]}
        return cls(array, index, manifest, sweep, Submission.read(sweep, manifest.submission), specs)


def run_task(manifest: str, index: int) -> dict[str, str]:
    """Do what the array is for with the runs of task `index`; returns their states. submitit calls this in the job.

    Args:
        manifest: path of the array's manifest.
        index: of the task.

    Raises:
        SystemExit: a run failed or is not finished; the code says which, for Slurm's accounting.
    """
    if ArrayPaths(Path(manifest).parent).cancelled(index).exists():
        _say("this job was cancelled and has been started again; exiting")
        sys.exit(ExitCode.INCOMPLETE)
    task = _Task.read(Path(manifest), index)
    programs: dict[JobKind, Callable[[_Task], dict[str, str]]] = {
        JobKind.EXECUTE: _execute,
        JobKind.SMOKE_TEST: _smoke_test,
        JobKind.FOLLOW_UP: _submit_again,
    }
    return programs[task.manifest.kind](task)


def _execute(task: _Task) -> dict[str, str]:
    """Execute the runs, each in a separate process.

    A run that is complete, or held by another attempt, is left alone. On Slurm's warnings the runs save their state, and the job
    is requeued: submitit's own handlers, which would do that too, are replaced.
    """
    warning = _execute_until_warned(task)
    statuses = [_examine(task, run_id) for run_id in task.specs]
    for status in statuses:
        _say(f"{status.run_id}: {status.state} {status.detail}".rstrip())
    unfinished = [status for status in statuses if status.state not in ("done", "failed")]
    # Slurm sends its signal to all processes of the job, in no order: only the runs may have got it
    if unfinished and (warning or any(status.cause is Cause.STOP_SIGNAL for status in unfinished)):
        _say(f"received {warning or 'a signal'}; {requeue(task.array, task.index)}")
    code = exit_code(statuses)
    if code != ExitCode.OK:
        sys.exit(code)
    return {status.run_id: status.state for status in statuses}


def _execute_until_warned(task: _Task) -> str:
    """Returns the name of the signal that has come, or an empty text; later ones are ignored."""
    executor = LocalExecutor(
        task.sweep,
        task.manifest.submission,
        task.submission.data,
        len(task.specs),
        PlainDisplay(len(task.specs)),
        again={run_id for run_id in task.specs if task.manifest.again and not _finished_here(task, run_id)},
        patient=False,
    )
    warning = _Warning()
    try:
        warning.install()
        executor.execute(list(task.specs.values()))
    except KeyboardInterrupt:
        pass
    warning.ignore()
    return warning.name


def _smoke_test(task: _Task) -> dict[str, str]:
    """Try each run out on one batch.

    A failure is an exit code, which keeps the arrays that wait for this job from starting, and a line that `job_status` reads.
    """
    try:
        try_out(list(task.specs.values()), task.submission, _say)
    except SweepError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    return dict.fromkeys(task.specs, "tried out")


def _submit_again(task: _Task) -> dict[str, str]:
    """Submit those runs again that another job may finish. A failure is an exit code and a line; the next launch retries."""
    try:
        count = follow_up(task.sweep, task.submission, task.specs, _say)
    except SweepError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    _say(f"{count} runs submitted again")
    return {}


def follow_up(
    sweep: SweepPaths,
    before: Submission,
    specs: Mapping[str, RunRecord],
    say: Callable[[str], None],
) -> int:
    """What the follow-up job does for the runs `specs`, by id, of submission `before`; returns how many it has submitted again.

    Raises as `submit_missing`.
    """
    submission = Submission(
        runs=[*specs],
        data=before.data,
        data_dir=before.data_dir,
        allow_unverified=before.allow_unverified,
        plugins=before.plugins,
        engine=before.engine,
        slurm=before.slurm,
    )
    return submit_missing(SlurmRequest.model_validate(before.slurm), sweep, specs, submission, (), say)


def _examine(task: _Task, run_id: str) -> RunStatus:
    spec = task.specs[run_id]
    status = examine(task.sweep.run(run_id), spec, task.submission.data.get(spec.task))
    return status.of_rerun() if task.manifest.again else status


def _finished_here(task: _Task, run_id: str) -> bool:
    """Whether this very job has finished the run already, before it was requeued."""
    claim, me = latest(task.sweep.run(run_id)), slurm_job()
    mine = claim and me and claim.content.get("slurm_job") == me["slurm_job"]
    return bool(claim and mine and claim.outcome == "done")


class _Warning:
    """Slurm's signals as one KeyboardInterrupt, which the executor understands; what comes after the first changes nothing."""

    def __init__(self) -> None:
        self.name = ""

    def install(self) -> None:
        for signal_number in _WARNINGS:
            signal.signal(signal_number, self._handle)

    def ignore(self) -> None:
        for signal_number in _WARNINGS:
            signal.signal(signal_number, signal.SIG_IGN)

    def _handle(self, signal_number: int, _: FrameType | None) -> None:
        if not self.name:
            self.name = signal.Signals(signal_number).name
            raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)
