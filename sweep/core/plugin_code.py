"""What a plug-in's code is: its file, and the modules next to it that it imports."""

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class PluginCode:
    """The code of a plug-in, as submissions keep it.

    Attributes:
        name: of its file.
        digest: SHA-256 (hex) of the file, or, where it imports modules next to it, of the names and hashes of all of them.
        file: SHA-256 (hex) of the file alone, which is what rows before schema 6 have.
    """

    name: str
    digest: str
    file: str

    @classmethod
    def of(cls, plugin: Path) -> Self:
        """Of the file `plugin` as it is now. Raises OSError if it cannot be read."""
        file = _sha256(plugin)
        modules = {
            path.relative_to(plugin.parent).as_posix(): _sha256(path) for path in local_modules(plugin)
        }
        whole = json.dumps([[plugin.name, file], *sorted(modules.items())])
        return cls(plugin.name, hashlib.sha256(whole.encode()).hexdigest() if modules else file, file)


def local_modules(plugin: Path) -> list[Path]:
    """The modules in the directory of `plugin` that it imports, anywhere in its code, and those that they import."""
    found: dict[Path, None] = {}
    waiting = [plugin]
    while waiting:
        path = waiting.pop()
        for module in _imported(path, plugin.parent):
            if module != plugin and module not in found:
                found[module] = None
                waiting.append(module)
    return sorted(found)


def _imported(path: Path, root: Path) -> Iterator[Path]:
    """The files below `root` that the code in `path` names in its import statements; none where it is no Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    package = path.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = list(package[: len(package) - node.level + 1]) if node.level else []
            base = above + (node.module.split(".") if node.module else [])
            names = [base, *([*base, alias.name] for alias in node.names)]
        else:
            continue
        for parts in names:
            yield from _files(root, parts)


def _files(root: Path, parts: list[str]) -> Iterator[Path]:
    """The module `a.b.c` and the packages that it is in, as far as they are files below `root`."""
    for length in range(1, len(parts) + 1):
        module = root.joinpath(*parts[:length])
        for candidate in (module.with_suffix(".py"), module / "__init__.py"):
            if candidate.is_file():
                yield candidate


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
