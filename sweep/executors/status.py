"""The state of a sweep's runs by all there is to ask: the files, and Slurm where it has had to do with them."""

from collections.abc import Mapping, Sequence

from sweep.store.layout import SweepPaths
from sweep.store.status import RunStatus, survey
from sweep.store.submissions import DataStamp


def look(sweep: SweepPaths, data: Mapping[str, DataStamp] | None = None) -> tuple[list[RunStatus], str]:
    """As `sweep.store.status.survey`, and what keeps Slurm from answering, or an empty text."""
    return refined(sweep, survey(sweep, data))


def refined(sweep: SweepPaths, statuses: Sequence[RunStatus]) -> tuple[list[RunStatus], str]:
    """`statuses`, which are by the files, with what Slurm knows; and what keeps it from answering."""
    if not sweep.arrays.is_dir():
        return list(statuses), ""
    from sweep.executors.slurm.job_status import (
        with_slurm,  # on demand: a sweep on one machine does not pay for it
    )

    return with_slurm(sweep, statuses)
