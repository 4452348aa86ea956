"""What travels to the jobs with a plug-in, and what does not."""

import os
import subprocess
import sys

import pytest

from sweep.executors.slurm import code_snapshot
from sweep.store.layout import SweepPaths

PLUGIN = """
from pathlib import Path

import helper
from pack.deep import part

WORDS = (Path(__file__).parent / "data" / "words.txt").read_text()
"""


@pytest.fixture
def plugin(tmp_path):
    root = tmp_path / "mine"
    files = {
        "mine.py": PLUGIN, "helper.py": "", "unused.py": "", "pack/__init__.py": "", "pack/deep/__init__.py": "",
        "pack/deep/part.py": "", "data/words.txt": "one two",
        ".git/config": "", ".venv/x.py": "", "env/pyvenv.cfg": "", "env/lib/torch.py": "", "__pycache__/mine.pyc": "",
        "results/full/runs.jsonl": "", "results/full/runs/x/result.parquet": "", "mine.py~": "", ".mine.py.swp": "",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / ".#mine.py").symlink_to("user@host.1234")  # an editor's lock
    (root / "dangling.py").symlink_to("nowhere.py")
    os.mkfifo(root / "pipe.py")
    return root / "mine.py"


def taken(tmp_path, plugin):
    said = []
    code, (copy,) = code_snapshot.take(SweepPaths(tmp_path / "sweep"), [plugin], said.append)
    root = copy.parent
    return code, copy, sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()), said


def test_modules_packages_and_data_travel(tmp_path, plugin):
    _, copy, files, said = taken(tmp_path, plugin)
    assert files == [
        "data/words.txt", "helper.py", "mine.py", "pack/__init__.py", "pack/deep/__init__.py", "pack/deep/part.py", "unused.py",
    ]  # fmt: skip
    assert said == []
    (plugin.parent / "data/words.txt").write_text("changed since")
    found = subprocess.run(
        [sys.executable, "-c", "import mine; print(mine.WORDS)"],
        cwd=copy.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "one two\n"


pytestmark = pytest.mark.process


def test_another_content_is_another_copy(tmp_path, plugin):
    first, *_ = taken(tmp_path, plugin)
    assert taken(tmp_path, plugin)[0] == first
    (plugin.parent / "data/words.txt").write_text("three")
    assert taken(tmp_path, plugin)[0] != first


@pytest.mark.parametrize("limit", ["_MOST_FILES", "_MOST_BYTES"])
def test_of_a_large_directory_only_modules_travel(tmp_path, plugin, monkeypatch, limit):
    monkeypatch.setattr(code_snapshot, limit, 5)
    _, _, files, (said,) = taken(tmp_path, plugin)
    assert files == [
        "helper.py",
        "mine.py",
        "pack/__init__.py",
        "pack/deep/__init__.py",
        "pack/deep/part.py",
        "unused.py",
    ]
    assert said.startswith("plug-in mine.py: of the files next to it only modules go to the jobs")
