"""What all executors have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Executor(Protocol):
    """Gets runs executed: on this machine (`executors.local`) or on a cluster (`executors.slurm`)."""

    def execute(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Have the runs with these specifications executed, none of which is complete or held by another attempt.

        Returns when they have ended (local) or have been submitted (Slurm).

        Raises:
            SweepError: not all of them could be. Those that were are on record.
        """
        ...
