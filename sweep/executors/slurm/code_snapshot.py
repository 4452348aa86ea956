"""A copy of the code for the jobs of a launch, so that what is edited while they wait changes nothing."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from sweep.core import provenance
from sweep.core.atomic_files import cannot_write
from sweep.core.env import source_root
from sweep.core.errors import UsageError
from sweep.store.layout import SweepPaths

_SOURCE = source_root()
_PACKAGES = ("sweep", "prune", "models")


def take(sweep: SweepPaths, plugins: Iterable[Path]) -> tuple[Path, list[Path]]:
    """Copy the packages, the compiled extension and the plug-ins, once per content.

    Untracked files of the packages count; of a plug-in's directory all `.py` files, since it may import its neighbours.

    Args:
        sweep: whose `code` directory gets the copy.
        plugins: plug-in files.

    Returns:
        The directory to put on Python's path, and the copies of `plugins`.

    Raises:
        UsageError: the extension is not built.
    """
    plugins = list(plugins)
    files = {path.relative_to(_SOURCE): path for package in _PACKAGES for path in _files(_SOURCE / package)}
    if not any(path.parent.name == "prune" and path.name.startswith("_C.") for path in files.values()):
        raise UsageError(
            f"the compiled extension is not in {_SOURCE / 'prune'}; build it with `make sweep` before launching on Slurm"
        )
    copies = []
    for index, plugin in enumerate(plugins):
        directory = Path("plugins", str(index))
        files |= {directory / path.name: path for path in sorted(plugin.parent.glob("*.py"))}
        copies.append(directory / plugin.name)
    # saved with it, since a copy has no repository to ask
    origin = json.dumps(provenance.code())
    digest = hashlib.sha256(origin.encode())
    for relative, path in sorted(files.items()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{relative}\0{content}\n".encode(errors="surrogateescape"))
    target = sweep.code / digest.hexdigest()[:16]
    if not target.is_dir():
        _copy(files, origin, target)
    return target, [target / copy for copy in copies]


def _files(package: Path) -> Iterator[Path]:
    for directory, subdirectories, files in os.walk(package):
        subdirectories[:] = [name for name in subdirectories if name != "__pycache__"]
        yield from (Path(directory, name) for name in files if not name.endswith((".pyc", ".swp", "~")))


def _copy(files: dict[Path, Path], origin: str, target: Path) -> None:
    """Fill a directory next to `target`, then rename it: a snapshot is complete or does not exist."""
    partial = target.with_name(f".{target.name}-{os.getpid()}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for relative, path in files.items():
            copy = partial / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        (partial / provenance.SNAPSHOT).write_text(origin, encoding="utf-8")
        partial.rename(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if target.is_dir():  # another launch was quicker
            return
        raise cannot_write(target, error) from error
