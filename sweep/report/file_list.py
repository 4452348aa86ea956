"""`report/files.json`: the files that the report consists of."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.core.atomic_files import write_json
from sweep.store.layout import SweepPaths


@contextmanager
def instead_of_the_last(sweep: SweepPaths, files: Iterable[Path]) -> Iterator[None]:
    """While the block writes `files`, the list has them and those of the last report; files that only the last report had are
    then deleted, such as the table of missing runs once none is missing. Files of other origin stay, and so do those of a report
    that another process writes meanwhile."""
    new = {path.relative_to(sweep.report).as_posix() for path in files}
    old = _read(sweep)
    # both, so that the next report deletes what an interrupted one leaves
    write_json(sweep.report_files, sorted(old | new))
    start = sweep.report_files.stat().st_mtime_ns
    yield
    gone = {name for name in old - new if _delete(sweep.report / name, start)}
    write_json(sweep.report_files, sorted(_read(sweep) - gone | new))


def _delete(path: Path, start: int) -> bool:
    """Delete a file that is older than the time `start`, in ns; whether it is gone."""
    try:
        if path.stat().st_mtime_ns >= start:
            return False
        path.unlink()
    except FileNotFoundError:
        pass
    return True


def _read(sweep: SweepPaths) -> set[str]:
    try:
        names = [Path(name) for name in json.loads(sweep.report_files.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):  # none yet, or damaged: then nothing is known to be the report's
        return set()
    inside = (name for name in names if not name.is_absolute() and ".." not in name.parts)
    return {name.as_posix() for name in inside if (sweep.report / name).is_file()}
