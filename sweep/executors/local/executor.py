"""Slots on this machine: a number of runs at a time, each in a separate process."""

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.core.atomic_files import cannot_write
from sweep.core.errors import BUSY, Cause, ExitCode, FullDiskError, StorageError
from sweep.core.signals import DeferredSignals
from sweep.executors.base import Executor
from sweep.executors.local.forkserver import ChildProcess, ForkServer
from sweep.executors.local.oom import OomKillCounter
from sweep.store.attempts import latest, record_end
from sweep.store.layout import SubmissionNumber, SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus, examine
from sweep.store.submissions import DataStamp
from sweep.terminal.progress import Display

_POLL_SECONDS = 0.2
_ELSEWHERE_SECONDS = 2.0
_ROOM_FOR_AN_ATTEMPT = 32 * 1024
"""Bytes."""
_FATAL_FAULTS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}


@dataclass
class _Slot:
    process: ChildProcess
    run_id: str


class SweepGone(StorageError):
    """The directory of a sweep has disappeared while its runs were executed."""

    exit_code = ExitCode.INCOMPLETE


class LocalExecutor(Executor):
    """Executes runs in `slots` processes at a time until none is left to do.

    Args:
        sweep: where the runs are.
        submission: number of the submission that records where the data is.
        data: per task the current data, to distinguish complete results from stale ones.
        slots: processes at a time.
        display: shows what happens.
        again: ids of runs to execute even if they are complete.
        patient: wait for runs that another launch holds; otherwise they are left to it.
    """

    def __init__(
        self,
        sweep: SweepPaths,
        submission: SubmissionNumber,
        data: Mapping[str, DataStamp],
        slots: int,
        display: Display,
        again: Collection[str] = (),
        patient: bool = True,
    ) -> None:
        self.sweep, self.submission, self.data = sweep, submission, data
        self.slots, self.display, self.again, self.patient = slots, display, again, patient
        self._oom_kills = OomKillCounter()
        self._running: list[_Slot] = []
        self.full_disk = ""
        """Why no further run is started, where that is for want of room."""
        self._fork_servers: dict[int, ForkServer] = {}

    def execute(self, specs: Sequence[RunRecord]) -> None:
        """Execute the runs with these specifications.

        A run that another launch holds is waited for, and executed if that one ends without finishing it. On KeyboardInterrupt,
        or an error of the launcher itself, the running ones get SIGTERM, save their state and are waited for; then it is raised
        again. A KeyboardInterrupt meanwhile kills them.
        """
        self._specs = {spec.id: spec for spec in specs}
        waiting = deque(self._specs)
        elsewhere: list[str] = []
        next_check = 0.0
        try:
            # a signal between the start of a run and its being registered here would leave it behind
            with DeferredSignals() as signals:
                while waiting or self._running or elsewhere:
                    signals.heed()
                    self._require_sweep()
                    self._reap(elsewhere)
                    if waiting and self.full_disk:
                        self.display.note(f"{self.full_disk}: {len(waiting)} runs are not started")
                        waiting.clear()
                    if waiting and len(self._running) < self.slots:
                        self._start(waiting[0], signals.heed)
                        if not self.full_disk:
                            waiting.popleft()
                        continue
                    if elsewhere and time.monotonic() >= next_check:
                        elsewhere = self._check_elsewhere(elsewhere, waiting)
                        next_check = time.monotonic() + _ELSEWHERE_SECONDS
                    held = [*(slot.run_id for slot in self._running), *elsewhere]
                    self.display.tick([self._examine(run_id) for run_id in held], len(waiting))
                    time.sleep(_POLL_SECONDS)
                self._require_sweep()
        except BaseException:
            self._stop()
            raise
        finally:
            for server in self._fork_servers.values():
                server.close()

    def _require_sweep(self) -> None:
        """Raise SweepGone where the sweep's directory is not where it was: nothing may be made in its place."""
        if not self.sweep.directory.is_dir():
            raise SweepGone(
                f"{self.sweep.directory} is gone: renamed, deleted or unmounted; put it back, then repeat the command"
            )

    def _fork_server(self, threads: int) -> ForkServer:
        if threads not in self._fork_servers:
            self._fork_servers[threads] = ForkServer(threads)
        return self._fork_servers[threads]

    def _start(self, run_id: str, heed: Callable[[], None]) -> None:
        """Start a run, unless the disk is full. `heed` raises for a signal that has come meanwhile."""
        run = self.sweep.run(run_id)
        arguments = [run_id, "--sweep", str(self.sweep.directory), "--submission", str(self.submission)]
        try:
            _require_writable(run.log)
        except FullDiskError as error:
            self.full_disk = str(error)
            return
        process = self._fork_server(self._specs[run_id].threads).start(
            [*arguments, *(["--again"] if run_id in self.again else [])],
            run.log,
            {"SWEEP_GPU_SHARE": str(1 / min(self.slots, len(self._specs)))},
            heed,
        )
        self._running.append(_Slot(process, run_id))
        self.display.started(self._examine(run_id))

    def _reap(self, elsewhere: list[str]) -> None:
        """Take note of the processes that have ended; runs that another attempt holds are added to `elsewhere`."""
        for slot in list(self._running):
            status = slot.process.poll()
            if status is None:
                continue
            self._running.remove(slot)
            if status == BUSY:
                if self.patient:
                    elsewhere.append(slot.run_id)
                else:
                    self.display.note(f"{slot.run_id}: another attempt holds it; left to that one")
                continue
            self._record_silent_death(slot, status)
            ended = self._examine(slot.run_id)
            if status != ExitCode.OK and (ended.cause is Cause.FULL_DISK or _is_full(self.sweep.directory)):
                self.full_disk = f"the disk of {self.sweep.directory} is full"
            self.display.ended(ended.of_rerun())

    def _record_silent_death(self, slot: _Slot, status: int, impatient: bool = False) -> None:
        """Write the end of an attempt whose process could not: only its parent knows how it died."""
        run = self.sweep.run(slot.run_id)
        claim = latest(run)
        if claim and claim.content["pid"] == slot.process.pid:
            if claim.outcome:
                return
            try:
                outcome, error, cause = self._manner_of_death(status, run.log)
                if impatient and status == -signal.SIGKILL:
                    outcome, error, cause = "interrupted", "killed by a second Ctrl-C", None
                record_end(run, claim, outcome, error, status, cause)
            except StorageError as storage_error:
                self.display.note(f"{slot.run_id}: {storage_error}")
        elif status != ExitCode.OK:
            self.display.note(f"{slot.run_id}: could not start (exit status {status}), see {run.log}")

    def _manner_of_death(self, status: int, log: Path) -> tuple[str, str, Cause | None]:
        """Outcome, error and cause of an attempt whose process ended with `status` and recorded no error."""
        if status >= 0:
            return "failed", f"exit status {status}, see {log}", None
        name = signal.Signals(-status).name if -status in list(signal.Signals) else f"signal {-status}"
        if name == "SIGKILL" and self._oom_kills.take():
            error = "out of memory: the system killed it at its memory limit; give it more"
            return "failed", error, Cause.OUT_OF_MEMORY
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        outcome = "failed" if -status in _FATAL_FAULTS else "interrupted"
        return outcome, f"killed by {name}{hint}", Cause.of_signal(name)

    def _check_elsewhere(self, elsewhere: list[str], waiting: deque[str]) -> list[str]:
        """Of the runs that other attempts held, those that are still running; unfinished ones are added to `waiting`."""
        still_running = []
        for run_id in elsewhere:
            status = self._examine(run_id)
            if status.state == "running":
                still_running.append(run_id)
            elif status.state in ("interrupted", "pending", "stale"):
                waiting.append(run_id)
            else:
                self.display.ended(status)
        return still_running

    def _examine(self, run_id: str) -> RunStatus:
        spec = self._specs[run_id]
        return examine(self.sweep.run(run_id), spec, self.data.get(spec.task))

    def _stop(self) -> None:
        impatient = False
        try:
            self.display.note(
                f"stopping: {len(self._running)} runs save their state (Ctrl-C again kills them)"
            )
            for slot in self._running:
                slot.process.terminate()
            for slot in self._running:
                slot.process.wait()
        except KeyboardInterrupt:
            impatient = True
            for slot in self._running:
                slot.process.kill()
        for slot in self._running:
            self._record_silent_death(slot, slot.process.wait(), impatient)


def _is_full(directory: Path) -> bool:
    """Whether an attempt could not even write down that it begins."""
    try:
        room = os.statvfs(directory)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _ROOM_FOR_AN_ATTEMPT


def _require_writable(log: Path) -> None:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.open("ab").close()
    except OSError as error:
        raise cannot_write(log, error) from error
