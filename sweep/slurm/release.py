"""Jobs that Slurm put on hold itself."""

from collections.abc import Callable, Iterable

from sweep.slurm.commands import ask
from sweep.slurm.states import FAILED_START
from sweep.status import RunStatus


def release_failed_starts(statuses: Iterable[RunStatus], say: Callable[[str], None]) -> None:
    """Let jobs wait in the queue again that Slurm holds since it could not start them, as on a node that went down just then.

    What a person has put on hold is left. Raises NoAnswer.
    """
    jobs = sorted(
        {status.job for status in statuses if status.job and status.detail.startswith(FAILED_START)}
    )
    if jobs:
        ask("scontrol", "release", ",".join(jobs))
        say(f"{len(jobs)} jobs released that Slurm held since it could not start them")
