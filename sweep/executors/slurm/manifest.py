"""What is on disk about a job array."""

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


@dataclass(frozen=True)
class Manifest:
    """A job array: written before it is submitted, never changed.

    Attributes:
        token: unique name of the Slurm job.
        submission: number of the launch.
        tasks: for each index of the array the ids of its runs, which share the task's resources.
        again: make the runs anew although they are complete.
        smoke: only try the runs out, a batch of each.
        follow: only submit those runs again that another job may finish.
        after: log of the smoke job that the array waits for, seen from the sweep's folder; empty if it does not.
        code: folder of the code's snapshot.
        user: who submits; only they can be sure to see the job in the queue.
        created_at: ISO 8601, local time as Slurm's.
    """

    token: str
    submission: SubmissionNumber
    tasks: list[list[str]]
    code: str
    again: bool = False
    smoke: bool = False
    follow: bool = False
    after: str = ""
    user: str = field(default_factory=getpass.getuser)
    created_at: str = field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))

    def save(self, array: ArrayPaths) -> None:
        """Write it; raises StorageError if it is there already."""
        if not create(array.manifest, json.dumps(asdict(self), indent=1)):
            raise StorageError(f"{array.manifest} is there already; repeat the launch command")

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest. Raises StorageError if it is missing or damaged."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{path} cannot be read ({error}); launch again") from error


def new_token(sweep: str) -> str:
    """A name that no other Slurm job has, beginning with the sweep's for people to read."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", sweep)[:40]
    return f"{readable}-{secrets.token_hex(6)}"


def write_answer(array: ArrayPaths, job_id: str | None, error: str = "") -> None:
    """Record what Slurm made of the array: its job id, or that it has none and never will."""
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


def arrays(folder: Path) -> Iterator[tuple[ArrayPaths, Manifest]]:
    """The arrays in `SweepPaths.arrays` or `.follows`, in the order of their submission."""
    if not folder.is_dir():
        return
    for name in sorted(os.listdir(folder), key=_numbers):
        array = ArrayPaths(folder / name)
        if array.manifest.exists():
            yield array, Manifest.read(array.manifest)


def _numbers(name: str) -> list[int]:
    """Those in an array's name. By their letters `10000-001` is before `9999-001`."""
    return [int(digits) for digits in re.findall(r"\d+", name)]
