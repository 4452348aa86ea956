"""`python -m sweep.executors.slurm.on_node.entrypoint MANIFEST`: what a task of an array starts with."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from submitit.core.job_environment import JobEnvironment
from submitit.core.submission import process_job
from submitit.core.utils import DelayedSubmission

from sweep.core.atomic_files import replacing
from sweep.core.errors import ExitCode, SweepError
from sweep.executors.slurm.manifest import Manifest
from sweep.executors.slurm.on_node.worker import run_task
from sweep.store.layout import ArrayPaths


def main(manifest_path: Path) -> int:
    """Check whose code this is, make sure that submitit has its pickle, and let it call `run_task`."""
    try:
        array = ArrayPaths(manifest_path.parent)
        check_code(Path(Manifest.read(array.manifest).code))
        _ensure_pickle(array)
    except SweepError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code
    process_job(array.directory)
    return ExitCode.OK


def check_code(snapshot: Path) -> None:
    """Raise SweepError unless the packages come from `snapshot`."""
    for package in ("sweep", "prune", "models"):
        found = find_spec(package)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin is None or not origin.is_relative_to(snapshot.resolve()):
            raise SweepError(
                f"{package} is imported from {origin}, not from the snapshot {snapshot}; "
                "unset PYTHONPATH in the profile's env and setup, and check that this directory exists on the node"
            )


def _ensure_pickle(array: ArrayPaths) -> None:
    """A launcher that dies, or gets no answer, between `sbatch` and its last rename leaves tasks without their pickle."""
    os.environ["SUBMITIT_FOLDER"] = str(array.directory)
    environment = JobEnvironment()
    pickle = environment.paths.submitted_pickle
    if not pickle.exists():
        index = int(environment.array_task_id or 0)
        with replacing(pickle) as temporary:
            DelayedSubmission(run_task, str(array.manifest), index).dump(temporary)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
