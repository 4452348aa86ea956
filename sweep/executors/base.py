"""What the ways to execute runs have in common."""

from collections.abc import Sequence
from typing import Protocol

from sweep.store.run_record import RunRecord


class Engine(Protocol):
    """Gets runs executed: on this machine (`executors.local`) or on a cluster (`executors.slurm`)."""

    def execute(self, specs: Sequence[RunRecord]) -> None:
        """Have the runs with these specifications executed, none of which is complete or in the hands of another.

        Returns when they have ended (local) or have been handed over (Slurm).

        Raises:
            SweepError: not all of them could be. Those that were are on record.
        """
        ...
