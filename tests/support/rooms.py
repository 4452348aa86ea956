"""The rooms of the sources: their order, and what `python tests/support/rooms.py` prints of them.

A room is a package of `sweep`, or `prune`, `models`, or a directory of `csrc`. There are as many floors as rooms in the longest
chain of imports. A circle is a set of rooms, or of files, that import each other.
"""

import ast
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# from top to bottom; rooms of one floor do not import each other
FLOORS = [
    ["sweep.cli"],
    ["sweep.launch"],
    ["sweep.executors"],
    ["sweep.report", "sweep.run"],
    ["sweep.terminal", "sweep.config"],
    ["sweep.tasks"],
    ["sweep.store"],
    ["sweep.core"],
    ["prune"],
    ["models"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

Graph = dict[str, set[str]]


def room_of(module: str) -> str | None:
    return next((room for room in FLOOR if module == room or module.startswith(f"{room}.")), None)


def name_of(path: Path) -> str:
    """The module's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def python_files(*directories: str) -> list[Path]:
    return sorted(path for directory in directories for path in (ROOT / directory).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {name for name in names if is_module(name)}
            found |= modules if modules == names else modules | {node.module}
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def import_graph() -> Graph:
    """What each module of the three packages imports from them."""
    found = {name_of(path): imports(path) for path in python_files("sweep", "prune", "models")}
    return {name: {other for other in modules if other in found} - {name} for name, modules in found.items()}


def include_graph() -> Graph:
    """What each file of `csrc` includes from there."""
    files = {path.relative_to(ROOT / "csrc").as_posix(): path for path in _sources()}
    graph: Graph = {}
    for name, path in files.items():
        included = re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M)
        relative = {(Path(name).parent / each).as_posix() for each in included}
        graph[name] = ({*included} | relative) & files.keys()
    return graph


def _sources() -> list[Path]:
    suffixes = {".cpp", ".h", ".inc", ".cu", ".cuh"}
    return sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in suffixes)


def of_rooms(graph: Graph, rooms: Mapping[str, str]) -> Graph:
    """The same arrows between the rooms of files; what is in no room is left out."""
    result: Graph = {room: set() for room in rooms.values()}
    for name, below in graph.items():
        if name in rooms:
            result[rooms[name]] |= {rooms[other] for other in below if other in rooms} - {rooms[name]}
    return result


def circles(graph: Graph) -> list[set[str]]:
    """The largest sets of nodes that all reach each other."""
    reach = {name: _reached(graph, name) for name in graph}
    found: list[set[str]] = []
    for name in graph:
        if name in reach[name] and not any(name in circle for circle in found):
            found.append({other for other in reach[name] if name in reach[other]})
    return found


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def floors(graph: Graph) -> int:
    """Nodes in the longest chain of arrows, a circle counting as one node."""
    together = {name: min(circle) for circle in circles(graph) for name in circle}
    arrows: Graph = {}
    for name, below in graph.items():
        me = together.get(name, name)
        arrows.setdefault(me, set()).update({together.get(other, other) for other in below} - {me})
    height: dict[str, int] = {}
    while len(height) < len(arrows):
        ready = {name for name, below in arrows.items() if name not in height and below <= height.keys()}
        height |= {name: 1 + max((height[other] for other in arrows[name]), default=0) for name in ready}
    return max(height.values())


def _report(title: str, files: Iterable[Path], graph: Graph, rooms: Mapping[str, str]) -> None:
    lines = sorted(len(path.read_text().splitlines()) for path in files)
    between = of_rooms(graph, rooms)
    print(title)
    print(f"  {len(between)} rooms on {floors(between)} floors, {len(circles(between))} circles among rooms")
    print(f"  longest chain {floors(graph)} files, {len(circles(graph))} circles among files")
    print(
        f"  {len(lines)} files, {sum(lines):,} lines, median file {statistics.median(lines):g}, longest {lines[-1]}"
    )
    for circle in [*circles(between), *circles(graph)]:
        print(f"  circle: {', '.join(sorted(circle))}")


def main() -> None:
    python = import_graph()
    rooms = {name: room for name in python if (room := room_of(name))}
    _report("sweep/ prune/ models/", python_files("sweep", "prune", "models"), python, rooms)
    cpp = include_graph()
    _report("csrc/", _sources(), cpp, {name: str(Path(name).parent) for name in cpp})
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path.name.startswith("test_")]
    lines = [len(path.read_text().splitlines()) for path in tests]
    print(
        f"tests/\n  {len(tests)} test files, {sum(lines):,} lines, median file {statistics.median(lines):g}, longest {max(lines)}"
    )


if __name__ == "__main__":
    main()
