"""Replacing the tables of a run that has a result: the old ones stay until the new ones are durable."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from sweep.core.atomic_files import cannot_write, sync
from sweep.store.layout import AttemptNumber, RunPaths


@contextmanager
def superseding(run: RunPaths, attempt: AttemptNumber) -> Iterator[RunPaths]:
    """Yield where `attempt` is to write its tables; afterwards they are the run's, and the old ones are kept under its number.

    Without an old result that is the run's directory. With one it is another, whose files are moved when all are there, the
    result last: whoever is killed in between leaves a run without a result, whose old one is among the attempts, and never one
    with tables of two attempts. If the block raises, the old result is as it was.

    Raises:
        StorageError: the files cannot be moved.
    """
    if not run.result.exists():
        yield run
        return
    for leftover in run.attempts.glob("*.new"):
        shutil.rmtree(leftover, ignore_errors=True)
    new = RunPaths(run.replacement(attempt))
    try:
        yield new
        _swap(run, new, attempt)
    except OSError as error:
        raise cannot_write(run.result, error) from error
    finally:
        shutil.rmtree(new.directory, ignore_errors=True)


def _swap(run: RunPaths, new: RunPaths, attempt: AttemptNumber) -> None:
    for table in (run.result, run.layers, run.epochs):
        if table.exists():
            table.rename(run.superseded(table, attempt))
    run.samples.unlink(missing_ok=True)
    for table in (new.mask, new.samples, new.layers, new.epochs, new.result):
        if table.exists():
            table.replace(run.directory / table.name)
    sync(run.directory)
