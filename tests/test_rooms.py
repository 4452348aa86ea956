"""The order of the rooms: imports point down, so that each can be read without those above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

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
FACADES = {"sweep/__init__.py", "sweep/stats.py", "sweep/classification.py", "sweep/data.py"}
"""They hand out what rooms have, and no room imports from them."""


def room_of(module: str) -> str | None:
    return next((room for room in FLOOR if module == room or module.startswith(f"{room}.")), None)


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


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_every_module_is_in_a_room():
    for path in files("sweep", "prune", "models"):
        name = path.relative_to(ROOT).as_posix()
        assert name in FACADES or room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)), name


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_only_from_below(room):
    for path in files(room.replace(".", "/")):
        for module in imports(path):
            other = room_of(module)
            assert module != "sweep", f"{path}: imports the facade"
            if other and other != room:
                assert FLOOR[other] > FLOOR[room], f"{path}: {room} imports {module}"


def test_models_and_prune_know_nothing_of_each_other():
    """`prune` prunes any model; `models` can be had without the extension."""
    for path in files("models"):
        assert not any(room_of(module) == "prune" for module in imports(path)), path
    for path in files("prune"):
        assert not any(room_of(module) == "models" for module in imports(path)), path


def test_no_circle_among_the_modules():
    """Imports inside functions count, too; what is for type checking only does not."""
    graph = {}
    for path in files("sweep", "prune", "models"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = imports(path)
    arrows = {
        name: {module for module in modules if module in graph} - {name} for name, modules in graph.items()
    }
    while leaves := {name for name, below in arrows.items() if not below & arrows.keys()}:
        arrows = {name: below for name, below in arrows.items() if name not in leaves}
    assert not arrows, f"among these there is a circle: {sorted(arrows)}"
