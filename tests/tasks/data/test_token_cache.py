import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from sweep.core.errors import DataError
from sweep.tasks.data.token_cache import Tables, load_or_build

KEY = {"data": "abc", "tokenizer": "basic_english", "pipeline": 1}


def tables() -> Tables:
    tokens = pa.array([[1, 2], [], [3]], pa.large_list(pa.int32()))
    return {
        "train": pa.record_batch({"tokens": tokens, "label": pa.array([0, 1, 2])}),
        "vocabulary": pa.record_batch({"token": pa.array(["<unk>", "a", "é"])}),
    }


def never() -> Tables:
    raise AssertionError("built although it is in the cache")


def the_directory(root: Path) -> Path:
    (directory,) = root.iterdir()  # nothing else may lie there: no temporary directory is left
    return directory


def assert_right(found: Tables) -> None:
    assert {name: table.to_pydict() for name, table in found.items()} == {
        name: table.to_pydict() for name, table in tables().items()
    }


def test_built_once(tmp_path: Path) -> None:
    assert_right(load_or_build(tmp_path / "deep" / "root", "x", KEY, tables))
    assert_right(load_or_build(tmp_path / "deep" / "root", "x", KEY, never))
    assert the_directory(tmp_path / "deep" / "root").name.startswith("x-")


@pytest.mark.parametrize("change", [{"data": "abd"}, {"tokenizer": "spacy"}, {"pipeline": 2}])
def test_every_part_of_the_key_counts(tmp_path: Path, change: dict[str, str | int]) -> None:
    load_or_build(tmp_path, "x", KEY, tables)
    calls = []
    load_or_build(tmp_path, "x", {**KEY, **change}, lambda: (calls.append(1), tables())[1])
    assert calls == [1]
    assert_right(load_or_build(tmp_path, "x", KEY, never))


def truncate(directory: Path) -> None:
    path = directory / "train.arrow"
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_token(directory: Path) -> None:
    path = directory / "train.arrow"
    content = path.read_bytes()
    tokens = b"\x01\0\0\0\x02\0\0\0\x03\0\0\0"
    assert content.count(tokens) == 1
    path.write_bytes(content.replace(tokens, tokens[::-1]))


def empty(directory: Path) -> None:
    (directory / "vocabulary.arrow").write_bytes(b"")


def lose_a_table(directory: Path) -> None:
    (directory / "train.arrow").unlink()


def lose_the_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def truncate_the_manifest(directory: Path) -> None:
    path = directory / "manifest.json"
    path.write_bytes(path.read_bytes()[:-10])


def another_key(directory: Path) -> None:
    path = directory / "manifest.json"
    path.write_text(path.read_text().replace('"abc"', '"abd"'))


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_a_token, empty, lose_a_table, lose_the_manifest, truncate_the_manifest, another_key],
)
def test_damage_is_noticed_and_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    load_or_build(tmp_path, "x", KEY, tables)
    damage(the_directory(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert_right(load_or_build(tmp_path, "x", KEY, tables))
    assert f"token cache {the_directory(tmp_path)} is damaged" in caplog.text
    assert_right(load_or_build(tmp_path, "x", KEY, never))


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Tables:
        raise DataError("row 3 is broken")

    with pytest.raises(DataError, match="row 3"):
        load_or_build(tmp_path, "x", KEY, fail)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_builder_left_goes_after_a_day(tmp_path: Path) -> None:
    old, young = (tmp_path / f".tmp-{name}" for name in ("old", "young"))
    for directory in (old, young):
        directory.mkdir()
        (directory / "half.arrow").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    load_or_build(tmp_path, "ag_news", KEY, tables)
    assert not old.exists()
    assert young.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot keep token ids in .*file.*SWEEP_CACHE") as caught:
        load_or_build(tmp_path / "file", "x", KEY, tables)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_utf8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9 'x'")
    assert_right(load_or_build(root, "x", KEY, tables))
    assert_right(load_or_build(root, "x", KEY, never))


@pytest.mark.process
def test_two_processes_build_at_once(tmp_path: Path) -> None:
    """Each waits inside its builder until the other is there too, so both publish."""
    script = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_token_cache import KEY, assert_right, load_or_build, tables
        me, other = (Path({str(tmp_path)!r}) / f"builder{{n}}" for n in sys.argv[1:])
        def build():
            me.touch()
            deadline = time.monotonic() + 30
            while not other.exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            return tables()
        assert_right(load_or_build(Path({str(tmp_path)!r}) / "cache", "x", KEY, build))
        """
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script, me, other], stderr=subprocess.PIPE, text=True)
        for me, other in (("1", "2"), ("2", "1"))
    ]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    the_directory(tmp_path / "cache")
    assert_right(load_or_build(tmp_path / "cache", "x", KEY, never))
