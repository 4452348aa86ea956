"""Attempts: who executes a run, whether they still live, and how it ended.

An attempt is claimed by creating `attempts/<n>.json` with the next number, which exactly one process can do. That file is the
lease; next to it `<n>.live` carries a heartbeat and the progress. Only the highest number counts: to take over from a dead
attempt is to create the next number, so no file is ever stolen. When an attempt ends, its file says how.
"""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sweep.core.atomic_files import create, remove_leftovers, write_json
from sweep.core.env import slurm_job
from sweep.core.errors import Cause, SweepError
from sweep.store.layout import AttemptNumber, RunPaths

HEARTBEAT_SECONDS = 2.0
SILENT_SECONDS = 60.0
"""An attempt on another machine without a heartbeat for so long is `unknown`."""
LOST_SECONDS = 600.0
"""... and for so long is dead: another may take over."""

_FIELDS = {
    "host": str,
    "boot_id": str,
    "pid_namespace": str,
    "pid": int,
    "pid_start": int,
    "outcome": str | None,
    "error": str | None,
    "cause": str | None,
}
"""What is asked of every attempt; one of Slurm has more."""

Liveness = Literal["ended", "live", "unknown", "dead"]


class Busy(Exception):
    """Another attempt holds the run, or may hold it."""


@dataclass(frozen=True)
class Claim:
    """What `attempts/<n>.json` says."""

    number: AttemptNumber
    content: dict[str, Any]

    @property
    def outcome(self) -> str | None:
        """`done`, `failed`, `interrupted`, or None while it has no end."""
        return self.content.get("outcome")

    @property
    def cause(self) -> Cause | None:
        """Why it ended, where anything depends on that. Versions before the key `cause` said it in the error alone."""
        if "cause" not in self.content:
            return _cause_in_words(self.content.get("error") or "")
        return Cause(self.content["cause"]) if self.content["cause"] in list(Cause) else None


def latest(run: RunPaths) -> Claim | None:
    """The attempt with the highest number, or None."""
    return _latest_of(run, _numbers(run))


def claims(run: RunPaths) -> list[Claim]:
    """All attempts in their order, but for those whose file is damaged."""
    return [claim for number in sorted(_numbers(run)) if (claim := _read(run, number))]


def liveness(run: RunPaths, claim: Claim) -> Liveness:
    """Whether the attempt still runs. On this machine its process is asked; elsewhere only the heartbeat says."""
    if claim.outcome:
        return "ended"
    machine = _machine()
    same_machine = {key: claim.content.get(key) for key in machine} == machine
    if same_machine:
        started = process_start(claim.content["pid"])
        return "live" if started is not None and started == claim.content["pid_start"] else "dead"
    # a heartbeat from the future is from before a clock went back, and no later one has replaced it
    silent = abs(_seconds_since_heartbeat(run, claim.number))
    if silent < SILENT_SECONDS:
        return "live"
    restarted = (
        claim.content.get("host") == machine["host"] and claim.content.get("boot_id") != machine["boot_id"]
    )
    return "dead" if restarted or silent >= LOST_SECONDS else "unknown"


def read_progress(run: RunPaths, claim: Claim) -> dict[str, Any]:
    """What the attempt last said of itself: `phase`, `epoch`, `epochs`, `loss`, ...; empty if nothing."""
    return _read_object(run.heartbeat(claim.number)) or {}


class Attempt:
    """The right to execute a run, held with a heartbeat until `end` or death."""

    def __init__(self, run: RunPaths, claim: Claim) -> None:
        self.run = run
        self.number = claim.number
        self._content = claim.content
        self._progress: dict[str, Any] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @classmethod
    def claim(cls, run: RunPaths) -> "Attempt":
        """Take the run.

        Raises:
            Busy: another attempt is live, may be live, or was quicker.
        """
        # listed once for both: a claim made between two listings would be skipped
        numbers = _numbers(run)
        previous = _latest_of(run, numbers)
        if (
            previous
            and not _was_requeued(previous)
            and (state := liveness(run, previous)) in ("live", "unknown")
        ):
            where = f"pid {previous.content.get('pid')} on {previous.content.get('host')}"
            raise Busy(f"attempt {previous.number} ({where}) is {state}")
        number = AttemptNumber(max(numbers, default=0) + 1)
        pid = os.getpid()
        content = {
            "attempt": number,
            **_machine(),
            "pid": pid,
            "pid_start": process_start(pid),
            "started_at": _now(),
            **(slurm_job() or {}),
        }
        if not create(run.attempt(number), json.dumps(content, indent=1)):
            raise Busy(f"attempt {number} was claimed by another process at the same moment")
        remove_leftovers(run.directory)
        return cls(run, Claim(number, content))

    @property
    def was_requeued(self) -> bool:
        """Whether this Slurm job had the attempt before, too, and was requeued: then it resumes, whatever was asked for."""
        before = [claim for claim in claims(self.run) if claim.number < self.number]
        return bool(before) and _was_requeued(before[-1])

    @property
    def started_at(self) -> datetime:
        return datetime.fromisoformat(self._content["started_at"])

    def report(self, progress: Mapping[str, Any]) -> None:
        """Say how far the run is; written with the next heartbeat."""
        self._progress = dict(progress)

    def require_held(self) -> None:
        """Raise SweepError if the run was taken over, as from an attempt that was silent for long, or its file is lost.

        Without it another process may execute the run, and the directory that the file was in may not be the sweep's any more.
        """
        if not _is_recorded(self.run, Claim(self.number, self._content)):
            raise SweepError(
                f"{self.run.attempt(self.number)} was deleted, moved or replaced during the run; exiting without a result"
            )
        newest = max(_numbers(self.run), default=0)
        if newest > self.number:
            raise SweepError(f"attempt {self.number} lost its lease to attempt {newest}; exiting")

    def end(
        self,
        outcome: Literal["done", "failed", "interrupted"],
        error: str | None = None,
        exit_status: int | None = None,
        cause: Cause | None = None,
    ) -> None:
        """Record how the attempt ended and why, and what its process will exit with, and give up the run."""
        self._stop.set()
        self._thread.join()
        record_end(self.run, Claim(self.number, self._content), outcome, error, exit_status, cause)

    def _beat(self) -> None:
        path = self.run.heartbeat(self.number)
        while _is_recorded(self.run, Claim(self.number, self._content)):
            # a heartbeat that cannot be written (a full disk) must not end the run: silence is what it then says
            temporary = path.with_name(f".{path.name}")
            try:
                temporary.write_text(json.dumps(self._progress), encoding="utf-8")
                os.replace(temporary, path)
            except OSError:
                with suppress(OSError):
                    temporary.unlink()
            if self._stop.wait(HEARTBEAT_SECONDS):
                return


def record_end(
    run: RunPaths,
    claim: Claim,
    outcome: str,
    error: str | None,
    exit_status: int | None = None,
    cause: Cause | None = None,
) -> None:
    """Write the end of an attempt: its own, or that of a child that was killed. One whose file is gone has none."""
    if not _is_recorded(run, claim):
        return
    end = {
        "ended_at": _now(),
        "outcome": outcome,
        "error": error,
        "cause": cause,
        "exit_status": exit_status,
    }
    write_json(run.attempt(claim.number), claim.content | end)
    run.heartbeat(claim.number).unlink(missing_ok=True)


def _is_recorded(run: RunPaths, claim: Claim) -> bool:
    """Whether the attempt's file is there, and is this process's: after a deletion another may have the same number."""
    try:
        content = _read_object(run.attempt(claim.number))
    except OSError:  # a file server that is away for a moment takes nothing from anybody
        return True
    who = ("host", "pid", "pid_start")
    return content is not None and all(content.get(name) == claim.content.get(name) for name in who)


def process_start(pid: int) -> int | None:
    """Start of a live process in clock ticks since boot, which a later one of this pid does not share; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command name, in brackets, may itself hold spaces and brackets
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


_FIRST_WORDS = {
    "out of memory": Cause.OUT_OF_MEMORY,
    "out of GPU memory": Cause.OUT_OF_GPU_MEMORY,
    "node failure": Cause.NODE_FAILURE,
    "time-out": Cause.TIME_LIMIT,
}
_NOT_FINITE_WORDS = re.compile(r"the (\w+ )?loss is |the test \S+ is \S+ while the losses are numbers")


def _cause_in_words(error: str) -> Cause | None:
    """The cause that was meant by the error of an attempt without the key `cause`."""
    if _NOT_FINITE_WORDS.match(error):
        return Cause.NOT_FINITE
    if found := re.match(r"(?:stopped|killed) by (SIG\w+)$", error):
        return Cause.of_signal(found[1])
    return next((cause for words, cause in _FIRST_WORDS.items() if error.startswith(words)), None)


def _was_requeued(claim: Claim) -> bool:
    """Whether Slurm has given up the attempt's job and started it again, as this process's.

    It may live on where its node lost touch with the cluster; it finds out when it wants to write (`require_held`).
    """
    me = slurm_job()
    return bool(
        me
        and claim.content.get("slurm_job") == me["slurm_job"]
        and claim.content["slurm_restart"] < me["slurm_restart"]
    )


def _numbers(run: RunPaths) -> list[AttemptNumber]:
    try:
        names = os.listdir(run.attempts)
    except FileNotFoundError:
        return []
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return [AttemptNumber(int(stem)) for stem in stems if stem.isdecimal()]


def _latest_of(run: RunPaths, numbers: list[AttemptNumber]) -> Claim | None:
    readable = (_read(run, number) for number in sorted(numbers, reverse=True))
    return next(filter(None, readable), None)


def _read(run: RunPaths, number: AttemptNumber) -> Claim | None:
    """The attempt; None if its file is gone or damaged."""
    content = _read_object(run.attempt(number))
    if content is None or not all(isinstance(content.get(name), kind) for name, kind in _FIELDS.items()):
        return None
    return Claim(number, content)


def _read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None if the file is gone or holds anything else."""
    with suppress(FileNotFoundError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return None


def _machine() -> dict[str, str]:
    """What two processes share that can see each other's numbers."""
    return {
        "host": socket.gethostname(),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
    }


def _seconds_since_heartbeat(run: RunPaths, number: AttemptNumber) -> float:
    """Age of the heartbeat by the file system's own clock, since machines' clocks differ; negative if that went back since."""
    beat = run.heartbeat(number)
    last = (beat if beat.exists() else run.attempt(number)).stat().st_mtime
    probe = run.attempts / f".now-{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime - last
    except OSError:  # a directory that only its owner may write: our own clock is used
        return time.time() - last
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
