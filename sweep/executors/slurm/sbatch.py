"""The sbatch script of an array, as submitit writes it."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from sweep.core.errors import UsageError
from sweep.executors.slurm.profile import Profile
from sweep.store.layout import ArrayPaths

_WARNING_SECONDS = 90
"""Slurm says so long before the time limit that it is near, and up to a minute earlier."""


def parameters(
    profile: Profile, token: str, needed: int, code: Path, concurrent: int | None = None, dependency: str = ""
) -> dict[str, Any]:
    """What submitit's executor is told.

    Args:
        profile: partition, time and so on.
        token: the job's name.
        needed: processors that a job's runs use.
        code: the snapshot to import from.
        concurrent: tasks of the array at a time; None: no throttle.
        dependency: on other jobs, in sbatch's words; empty: on none.
    """
    cpus = profile.cpus or needed
    lines = ["set -euo pipefail"]
    # the module function of many sites trips over unset variables of its own
    lines += [f"set +u; module load {shlex.quote(module)}; set -u" for module in profile.modules]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in profile.env.items()]
    lines += profile.setup
    lines += [f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"]
    found: dict[str, Any] = {
        "job_name": token,
        "time": profile.time,
        "nodes": 1,
        "cpus_per_task": cpus,
        "signal_delay_s": min(_WARNING_SECONDS, profile.time * 15),
        "array_parallelism": concurrent or 1_000_000,
        "stderr_to_stdout": True,
        # srun does not take over the batch job's number of processors
        "srun_args": [f"--cpus-per-task={cpus}"],
        "setup": lines,
        "wckey": None,
        # said explicitly, whatever the cluster's default is
        "additional_parameters": {"requeue" if profile.requeue else "no-requeue": True},
    }
    if dependency:
        # without the second, what waits for a job that failed would wait for ever
        found["additional_parameters"] |= {"dependency": dependency, "kill-on-invalid-dep": "yes"}
    for name in ("partition", "account", "qos", "constraint"):
        if (value := getattr(profile, name)) is not None:
            found[name] = value
    if profile.exclude:
        found["exclude"] = ",".join(profile.exclude)
    if profile.gpus:
        found["gpus_per_node"] = profile.gpus
    if profile.memory:
        found["mem"] = f"{profile.memory}MB"
    return found


def command(profile: Profile, array: ArrayPaths) -> str:
    """The shell words that a task executes."""
    python = profile.python or shlex.quote(sys.executable)
    # -P: the folder that the launch was made from, perhaps a checkout, must not come before the snapshot
    words = [
        profile.container,
        python,
        "-P -u -m sweep.executors.slurm.on_node.entrypoint",
        shlex.quote(str(array.manifest)),
    ]
    return " ".join(filter(None, words))


def text(profile: Profile, array: ArrayPaths, tasks: int, settings: Mapping[str, Any]) -> str:
    """The script for an array of so many tasks, for people to read."""
    count = tasks if tasks > 1 else None  # submitit submits a single task as a plain job
    return _make_sbatch_string(
        command=command(profile, array), folder=array.folder, map_count=count, **settings
    )


def check_folder(folder: Path) -> None:
    """Raise UsageError where Slurm could not write its log.

    `%` begins a pattern in the log's name, a backslash escapes, and what cannot be printed ends the line.
    """
    if any(letter in "%\\" or not letter.isprintable() for letter in str(folder)):
        raise UsageError(
            f"{str(folder)!r} has letters that Slurm cannot have in the path of a log; choose another with --results or --name"
        )


class Executor(SlurmExecutor):
    """submitit's executor with this project's entry in place of its own."""

    def __init__(self, profile: Profile, array: ArrayPaths) -> None:
        super().__init__(array.folder)
        self._entry = command(profile, array)

    @property
    def _submitit_command_str(self) -> str:
        return self._entry
