"""What the code of a plug-in is: its file and the modules next to it that it imports, without comments and layout."""

import ast
import hashlib
import io
import json
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path


def fingerprint(plugin: Path) -> str:
    """SHA-256 of the code that a plug-in consists of (`local_sources`).

    Comments, blank lines and spaces at the ends of lines do not count; what else is in the files does. The plug-in's own name
    and place do not count, those of its modules within its directory do.
    """
    sources = local_sources(plugin)
    content = [
        [name if path != plugin else "", _significant(path.read_bytes())]
        for name, path in sorted(sources.items())
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def local_sources(plugin: Path) -> dict[str, Path]:
    """The plug-in and the Python files in its directory that it imports, also indirectly, by their path from there.

    Imports are read, not executed, those inside functions included. Of a package all its Python files count. Modules that are
    imported by a computed name, or from outside the plug-in's directory, are not found.
    """
    root = plugin.parent
    found: dict[str, Path] = {}
    waiting = [plugin]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name in found:
            continue
        found[name] = path
        for module in _imported(path):
            waiting += _files_of(root, module)
    return found


def _imported(path: Path) -> set[str]:
    """Names of the top-level modules that a file imports; none where it cannot be compiled."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    # found before those next to the plug-in, which are looked for last
    return names - sys.stdlib_module_names - {"sweep", "prune", "models", "torch", "numpy"}


def _files_of(root: Path, module: str) -> Iterator[Path]:
    if (root / f"{module}.py").is_file():
        yield root / f"{module}.py"
    yield from (path for path in (root / module).rglob("*.py") if path.is_file())


def _significant(source: bytes) -> str:
    """Source without comments, blank lines and trailing spaces, but for those in strings; as it is where it is not Python."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
        comments, in_strings = _comments_and_strings(text)
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
        return source.decode("latin-1")
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if number in in_strings:
            lines.append(line)
        elif code := line[: comments.get(number)].rstrip():
            lines.append(code)
    return "\n".join(lines)


def _comments_and_strings(text: str) -> tuple[dict[int, int], set[int]]:
    """Column of the comment of each line that has one; the lines whose end is inside a string."""
    comments: dict[int, int] = {}
    in_strings: set[int] = set()
    begun: list[int] = []  # of f-strings, which are several tokens from Python 3.12 on
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind == "COMMENT":
            comments[token.start[0]] = token.start[1]
        elif kind == "STRING":
            in_strings |= {*range(token.start[0], token.end[0])}
        elif kind == "FSTRING_START":
            begun.append(token.start[0])
        elif kind == "FSTRING_END":
            in_strings |= {*range(begun.pop(), token.end[0])}
    return comments, in_strings
