"""The short job that tries a launch out before its arrays may start."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.paths import SweepPaths
from sweep.slurm.manifest import Manifest, new_token
from sweep.slurm.profile import Profile
from sweep.slurm.script import parameters
from sweep.slurm.submit import submit

_MINUTES = 15


def submit_smoke(
    sweep: SweepPaths, submission: int, profile: Profile, code: Path, specs: Sequence[Mapping[str, Any]]
) -> str:
    """Submit a job that tries `specs` out one after the other; returns its id. Raises as `sweep.slurm.submit.submit`."""
    array = sweep.smoke(submission)
    manifest = Manifest(
        token=new_token(f"{sweep.name}-smoke"),
        submission=submission,
        tasks=[[spec["id"] for spec in specs]],
        code=str(code),
        smoke=True,
    )
    short = profile.model_copy(update={"time": min(profile.time, _MINUTES)})
    threads = max(spec["threads"] for spec in specs)
    return submit(array, manifest, short, parameters(short, manifest.token, threads, code))
