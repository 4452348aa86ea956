"""The order of the rooms: imports point down, so that each can be read without those above it."""

from pathlib import Path

import pytest
from support.rooms import (
    FLOOR,
    ROOT,
    circles,
    floors,
    import_graph,
    imports,
    include_graph,
    main,
    name_of,
    of_rooms,
    python_files,
    room_of,
)

FACADES = {"sweep/__init__.py", "sweep/stats.py", "sweep/classification.py", "sweep/data.py"}
"""They hand out what rooms have, and no room imports from them."""


def test_every_module_is_in_a_room():
    for path in python_files("sweep", "prune", "models"):
        assert path.relative_to(ROOT).as_posix() in FACADES or room_of(name_of(path)), path


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_only_from_below(room):
    for path in python_files(room.replace(".", "/")):
        for module in imports(path):
            other = room_of(module)
            assert module != "sweep", f"{path}: imports the facade"
            if other and other != room:
                assert FLOOR[other] > FLOOR[room], f"{path}: {room} imports {module}"


def test_models_and_prune_know_nothing_of_each_other():
    """`prune` prunes any model; `models` can be had without the extension."""
    for path in python_files("models"):
        assert not any(room_of(module) == "prune" for module in imports(path)), path
    for path in python_files("prune"):
        assert not any(room_of(module) == "models" for module in imports(path)), path


def test_no_circle_among_the_modules():
    """Imports inside functions count, too."""
    assert circles(import_graph()) == []


def test_no_circle_among_the_sources_of_the_extension():
    graph = include_graph()
    assert circles(graph) == []
    assert circles(of_rooms(graph, {name: str(Path(name).parent) for name in graph})) == []


def test_circles_and_floors_by_hand():
    chain = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": set()}
    assert (circles(chain), floors(chain)) == ([], 3)
    two = {"a": {"b"}, "b": {"c", "a"}, "c": {"d"}, "d": {"c"}, "e": {"a"}}
    assert sorted(map(sorted, circles(two))) == [["a", "b"], ["c", "d"]]
    assert floors(two) == 3


def test_what_the_command_prints(capsys):
    main()
    printed = capsys.readouterr().out
    assert f"{len(FLOOR)} rooms on 7 floors, 0 circles among rooms" in printed
    assert all(f"{directory}/" in printed for directory in ("sweep", "prune", "models", "csrc", "tests"))
