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

    Untracked files of the packages count; of a plug-in's folder all `.py` files, since it may import what lies beside it.

    Args:
        sweep: whose `code` folder takes the copy.
        plugins: plug-in files.

    Returns:
        The folder to put on Python's path, and the copies of `plugins`.

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
    for number, plugin in enumerate(plugins):
        folder = Path("plugins", str(number))
        files |= {folder / path.name: path for path in sorted(plugin.parent.glob("*.py"))}
        copies.append(folder / plugin.name)
    # written along, since a copy has no repository to ask
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
    for folder, names, files in os.walk(package):
        names[:] = [name for name in names if name != "__pycache__"]
        yield from (Path(folder, name) for name in files if not name.endswith((".pyc", ".swp", "~")))


def _copy(files: dict[Path, Path], origin: str, target: Path) -> None:
    """Fill a folder beside `target`, then give it its name: a snapshot is whole or not there."""
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
