"""What is on disk about a job array."""

import enum
import getpass
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sweep.core.atomic_files import create, write_json
from sweep.core.errors import StorageError
from sweep.store.layout import ArrayPaths, SubmissionNumber


class JobKind(enum.Enum):
    """What the tasks of a job array do with their runs."""

    EXECUTE = enum.auto()
    SMOKE_TEST = enum.auto()  # try each out on one batch
    FOLLOW_UP = enum.auto()  # submit those again that another job may finish


@dataclass(frozen=True)
class Manifest:
    """A job array: written before it is submitted, never changed.

    Attributes:
        token: unique name of the Slurm job.
        submission: number of the launch.
        tasks: for each index of the array the ids of its runs, which share the task's resources.
        code: directory of the code's snapshot.
        kind: what the tasks do with the runs; in the file the two booleans `smoke` and `follow`.
        again: execute the runs although they are complete.
        after: log of the smoke job that the array waits for, relative to the sweep's directory; empty if it waits for none.
        user: who submits; only they can be sure to see the job in the queue.
        created_at: ISO 8601, local time as Slurm's.
    """

    token: str
    submission: SubmissionNumber
    tasks: list[list[str]]
    code: str
    kind: JobKind = JobKind.EXECUTE
    again: bool = False
    after: str = ""
    user: str = field(default_factory=getpass.getuser)
    created_at: str = field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))

    def save(self, array: ArrayPaths) -> None:
        """Write it; raises StorageError if it exists."""
        content = asdict(self)
        kind = content.pop("kind")
        content |= {"smoke": kind is JobKind.SMOKE_TEST, "follow": kind is JobKind.FOLLOW_UP}
        if not create(array.manifest, json.dumps(content, indent=1)):
            raise StorageError(f"{array.manifest} exists already; repeat the launch command")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest. Raises StorageError if it is missing or damaged."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            smoke, follow = content.pop("smoke", False), content.pop("follow", False)
            kind = JobKind.SMOKE_TEST if smoke else JobKind.FOLLOW_UP if follow else JobKind.EXECUTE
            return cls(**content, kind=kind)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StorageError(f"{path} cannot be read ({error}); launch again") from error


def new_token(sweep: str) -> str:
    """A name that no other Slurm job has; it starts with the sweep's name for people to read."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", sweep)[:40]
    return f"{readable}-{secrets.token_hex(6)}"


def write_answer(array: ArrayPaths, job_id: str | None, error: str = "") -> None:
    """Record Slurm's answer about the array: its job id, or that it has none and never will."""
    write_json(array.answer, {"job_id": job_id, "error": error})


def read_answer(array: ArrayPaths) -> dict[str, Any] | None:
    """`job_id` (None: not submitted) and `error`; None while Slurm's answer is not known."""
    try:
        return json.loads(array.answer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StorageError(
            f"{array.answer} is damaged ({error}); delete it, and the next launch asks Slurm again"
        ) from error


def arrays(directory: Path) -> Iterator[tuple[ArrayPaths, Manifest]]:
    """The arrays in `SweepPaths.arrays`, `.smokes` or `.follows`, in the order of their submission."""
    if not directory.is_dir():
        return
    for name in sorted(os.listdir(directory), key=_numbers_in):
        array = ArrayPaths(directory / name)
        if array.manifest.exists():
            yield array, Manifest.read(array.manifest)


def _numbers_in(name: str) -> list[int]:
    """The numbers in an array's name, to sort by: as text `10000-001` comes before `9999-001`."""
    return [int(digits) for digits in re.findall(r"\d+", name)]
