"""The state of a sweep's runs by all the evidence: the files, and Slurm where runs were submitted to it."""

from collections.abc import Mapping

from sweep.store.layout import SweepPaths
from sweep.store.run_record import RunRecord
from sweep.store.status import RunStatus, survey
from sweep.store.submissions import DataStamp


def current_status(
    sweep: SweepPaths,
    data: Mapping[str, DataStamp] | None = None,
    specs: Mapping[str, RunRecord] | None = None,
) -> tuple[list[RunStatus], str]:
    """The states of a sweep's runs.

    Args:
        sweep: where they are.
        data: per task the current data; by default that of the latest submissions.
        specs: the runs by id; by default all of the sweep, in the grid's order.

    Returns:
        The states, and why Slurm does not answer; empty if it does or need not be asked.
    """
    statuses = survey(sweep, data, specs=specs)
    if not sweep.arrays.is_dir():
        return statuses, ""
    # on demand: a sweep on one machine does not pay for it
    from sweep.executors.slurm.job_status import with_slurm

    return with_slurm(sweep, statuses)
