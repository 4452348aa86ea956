"""The sbatch script of an array, as submitit writes it."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# submitit has no public function that returns the script without submitting it, which --dry-run needs; to write the script here
# would be a second source of the options that are submitted
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from sweep.core.errors import UsageError
from sweep.executors.slurm.profile import Profile
from sweep.store.layout import ArrayPaths

_WARNING_SECONDS = 90
"""How long before the time limit Slurm warns the job; it may do so up to a minute earlier."""


def parameters(
    profile: Profile, token: str, needed: int, code: Path, concurrent: int | None = None, dependency: str = ""
) -> dict[str, Any]:
    """The parameters of submitit's executor.

    Args:
        profile: partition, time and so on.
        token: the job's name.
        needed: cores that a job's runs use.
        code: the snapshot to import from.
        concurrent: tasks of the array at a time; None: no throttle.
        dependency: on other jobs, as sbatch's option; empty: none.
    """
    cpus = profile.cpus or needed
    lines = ["set -euo pipefail"]
    # the module function of many sites uses unset variables
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
        # srun does not inherit the batch job's number of cores
        "srun_args": [f"--cpus-per-task={cpus}"],
        "setup": lines,
        "wckey": None,
        # explicit, whatever the cluster's default is
        "additional_parameters": {"requeue" if profile.requeue else "no-requeue": True},
    }
    if dependency:
        # without the second, what waits for a failed job would wait for ever
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
    """The shell command that a task executes."""
    python = profile.python or shlex.quote(sys.executable)
    # -P: the directory that the launch was started in, perhaps a checkout, must not come before the snapshot
    words = [
        profile.container,
        python,
        "-P -u -m sweep.executors.slurm.on_node.entrypoint",
        shlex.quote(str(array.manifest)),
    ]
    return " ".join(filter(None, words))


def text(profile: Profile, array: ArrayPaths, tasks: int, settings: Mapping[str, Any]) -> str:
    """The script for an array of `tasks` tasks, for people to read."""
    count = tasks if tasks > 1 else None  # submitit submits a single task as a plain job
    return _make_sbatch_string(
        command=command(profile, array), folder=array.directory, map_count=count, **settings
    )


def check_directory(directory: Path) -> None:
    """Raise UsageError where Slurm could not write its log.

    `%` starts a pattern in the log's name, a backslash escapes, and what cannot be printed ends the line.
    """
    if any(character in "%\\" or not character.isprintable() for character in str(directory)):
        raise UsageError(
            f"{str(directory)!r} has characters that Slurm does not accept in a log path; use another --results or --name"
        )


class SubmititExecutor(SlurmExecutor):
    """submitit's executor with this project's entry point in place of submitit's."""

    def __init__(self, profile: Profile, array: ArrayPaths) -> None:
        super().__init__(array.directory)
        self._entry = command(profile, array)

    @property
    def _submitit_command_str(self) -> str:
        return self._entry
