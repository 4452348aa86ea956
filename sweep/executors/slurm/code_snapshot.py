"""A copy of the code for the jobs of a launch, so that what is edited while they wait changes nothing."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sweep.core import provenance
from sweep.core.atomic_files import cannot_write
from sweep.core.env import source_root
from sweep.core.errors import UsageError
from sweep.core.plugin_code import local_modules
from sweep.store.layout import SweepPaths

_SOURCE = source_root()
_PACKAGES = ("sweep", "prune", "models")
_LEFT_BY_EDITORS = (".pyc", ".swp", "~")
_MOST_FILES = 1000
_MOST_BYTES = 50_000_000


def take(sweep: SweepPaths, plugins: Iterable[Path], say: Callable[[str], None]) -> tuple[Path, list[Path]]:
    """Copy the packages, the compiled extension and the plug-ins, once per content.

    Untracked files of the packages count. With a plug-in goes what is next to it (see `_next_to`), since it may
    import modules and read files there.

    Args:
        sweep: whose `code` directory gets the copy.
        plugins: plug-in files.
        say: takes a line for what does not go with a plug-in.

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
        neighbours = _next_to(plugin, say)
        files |= {directory / path.relative_to(plugin.parent): path for path in neighbours}
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


def _next_to(plugin: Path, say: Callable[[str], None]) -> list[Path]:
    """The plug-in, its modules, and all files in and below its directory, as long as they are few and small.

    What is hidden, a link to nowhere (an editor's lock), no plain file, a virtual environment or a sweep is none of them.
    """
    modules = [plugin, *local_modules(plugin), *sorted(filter(Path.is_file, plugin.parent.glob("*.py")))]
    found: list[Path] = []
    size = 0
    for directory, subdirectories, names in os.walk(plugin.parent):
        subdirectories[:] = sorted(name for name in subdirectories if _is_followed(Path(directory, name)))
        for path in (Path(directory, name) for name in sorted(names)):
            if not path.name.startswith(".") and not path.name.endswith(_LEFT_BY_EDITORS) and path.is_file():
                found.append(path)
                size += path.stat().st_size
        if len(found) > _MOST_FILES or size > _MOST_BYTES:
            say(
                f"plug-in {plugin.name}: of the files next to it only modules go to the jobs, since they are more than "
                f"{_MOST_FILES} or {_MOST_BYTES // 1_000_000} MB; name data by an absolute path, or give the plug-in a directory"
            )
            found = []
            break
    return list(dict.fromkeys([*modules, *found]))


def _is_followed(directory: Path) -> bool:
    """Whether files in a directory may belong to a plug-in above it."""
    if directory.name.startswith(".") or directory.name in ("__pycache__", "node_modules"):
        return False
    sweeps = (directory / "runs.jsonl", *directory.glob("*/runs.jsonl"))
    return not (directory / "pyvenv.cfg").exists() and not any(path.exists() for path in sweeps)


def _files(package: Path) -> Iterator[Path]:
    for directory, subdirectories, files in os.walk(package):
        subdirectories[:] = [name for name in subdirectories if name != "__pycache__"]
        yield from (
            Path(directory, name)
            for name in files
            if not name.endswith(_LEFT_BY_EDITORS) and Path(directory, name).is_file()
        )


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
