"""Atomic files: whole or absent, whatever happens."""

import os

import pytest

from sweep.core.atomic_files import create, remove_leftovers, replacing, write_json, write_text
from sweep.core.errors import SweepError


def test_a_failed_block_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_create_succeeds_for_exactly_one_and_keeps_the_first_content(tmp_path):
    path = tmp_path / "claims" / "1"
    assert [create(path, "first"), create(path, "second")] == [True, False]
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == ["1"]


def test_a_failed_write_names_the_file_and_the_fix(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a directory")
    with pytest.raises(SweepError, match=r"cannot write .*file/a\.json: File exists; use another directory"):
        write_json(blocker / "a.json", {})


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".tmp-123-result.parquet").write_text("half")
    (tmp_path / "result.parquet").write_text("whole")
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["result.parquet"]
