"""What a task of an array does: execute its runs, and see to it that what is not finished goes on later."""

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from sweep.core.env import slurm_job
from sweep.core.errors import ExitCode, SweepError
from sweep.executors.local.executor import LocalEngine
from sweep.executors.slurm.launch import SlurmRequest, submit_missing
from sweep.executors.slurm.manifest import Manifest
from sweep.executors.slurm.on_node.requeue import put_back
from sweep.run.smoke import try_out
from sweep.store.attempts import latest
from sweep.store.layout import ArrayPaths, SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus, examine, exit_code
from sweep.store.submissions import Submission, read_runs
from sweep.terminal.progress import PlainDisplay

_WARNINGS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


def run_task(manifest: str, index: int) -> dict[str, str]:
    """Execute the runs of task `index`, each in a process of its own; returns their states. submitit calls this in the job.

    A run that is complete, or in the hands of another attempt, is left alone. On Slurm's warnings the runs save themselves, and
    the job goes back into the queue: submitit's own handlers, which would do that too, are replaced.

    Args:
        manifest: path of the array's manifest.
        index: of the task.

    Raises:
        SystemExit: a run failed or is not finished; the code says which, for Slurm's accounting.
    """
    array = ArrayPaths(Path(manifest).parent)
    sweep = SweepPaths(array.folder.parent.parent)
    plan = Manifest.read(array.manifest)
    ids = plan.tasks[index]
    if array.cancelled(index).exists():
        _say("this job was cancelled and has been started again; it ends")
        sys.exit(ExitCode.INCOMPLETE)
    submission = Submission.read(sweep, plan.submission)
    known = read_runs(sweep)
    specs = [known[run_id] for run_id in ids]
    if plan.smoke:
        return _try_out(specs, submission)
    if plan.follow:
        return _follow_up(sweep, specs, submission)
    warning = _Warning()
    engine = LocalEngine(
        sweep,
        plan.submission,
        submission.data,
        len(ids),
        PlainDisplay(len(ids)),
        again={run_id for run_id in ids if plan.again and not _begun_here(sweep, run_id)},
        patient=False,
    )
    try:
        warning.install()
        engine.execute(specs)
    except KeyboardInterrupt:
        pass
    warning.ignore()
    statuses = [examine(sweep.run(spec.id), spec, submission.data.get(spec.task)) for spec in specs]
    for status in statuses:
        _say(f"{status.run_id}: {status.state} {status.detail}".rstrip())
    open_ones = [status for status in statuses if status.state not in ("done", "failed")]
    if open_ones and (warning.name or any(map(_was_warned, open_ones))):
        _say(f"{warning.name or 'a signal'} came; {put_back(array, index)}")
    code = exit_code(statuses)
    if code != ExitCode.OK:
        sys.exit(code)
    return {status.run_id: status.state for status in statuses}


def _try_out(specs: Sequence[RunRecord], submission: Submission) -> dict[str, str]:
    """A smoke job. A failure is its exit code, which keeps those that wait for it from starting, and one line that tells it."""
    try:
        try_out(specs, submission, _say)
    except SweepError as error:
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    return {spec.id: "tried out" for spec in specs}


def _follow_up(sweep: SweepPaths, specs: Sequence[RunRecord], submission: Submission) -> dict[str, str]:
    """The job after the others. A failure is its exit code and one line; the next launch does what it has not."""
    try:
        count = follow_up(sweep, submission, {spec.id: spec for spec in specs}, _say)
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
    """What that job does for the runs `specs`, by id, of submission `before`; returns how many it has submitted again.

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


def _begun_here(sweep: SweepPaths, run_id: str) -> bool:
    """Whether this very job has begun the run already, before it was requeued: then it goes on instead of beginning anew."""
    claim, me = latest(sweep.run(run_id)), slurm_job()
    return bool(claim and me and claim.content.get("slurm_job") == me["slurm_job"])


def _was_warned(status: RunStatus) -> bool:
    """Whether a run's own process got the signal; Slurm sends it to all, in no order."""
    return status.detail.endswith(("SIGUSR2", "SIGTERM"))


class _Warning:
    """Slurm's signals as one KeyboardInterrupt, which the engine understands; what comes after the first changes nothing."""

    def __init__(self) -> None:
        self.name = ""

    def install(self) -> None:
        for number in _WARNINGS:
            signal.signal(number, self._handle)

    def ignore(self) -> None:
        for number in _WARNINGS:
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.name:
            self.name = signal.Signals(number).name
            raise KeyboardInterrupt


def _say(line: str) -> None:
    print(line, flush=True)
