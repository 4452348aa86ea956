"""The pages' examples run as they stand, and what the pages name is there."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
import typer
from nbclient import NotebookClient
from support.rows import write_sweep

import prune
import sweep
from sweep.cli.app import app
from sweep.core.errors import UsageError
from sweep.executors import base

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "results/README.md"]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(PAGES)}

PYTHON = [
    pytest.param(code, id=f"{page}-{number}")
    for page, text in TEXTS.items()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.S))
    # files of a name are run with their grids below and in test_readme.py, and the protocol is compared with its source
    if not re.match(r"# \w+\.py\n|class Executor", code)
]


def commands():
    """The commands that stand in indented lines, without their comments: page and words."""
    for page, text in TEXTS.items():
        for line in re.sub(r"```.*?```", "", text, flags=re.S).splitlines():
            if re.match(r"    (sweep|python|make) ", line):
                yield page, shlex.split(line, comments=True)


COMMANDS = list(dict.fromkeys((page, tuple(words)) for page, words in commands()))


def only(*first):
    return [
        pytest.param(words, id=f"{page}: {' '.join(words)[:60]}")
        for page, words in COMMANDS
        if words[: len(first)] == first
    ]


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A directory from which the pages' paths are right, with finished sweeps `demo` and `ag_news`."""
    write_sweep(tmp_path / "results" / "demo")
    write_sweep(tmp_path / "results" / "ag_news")
    for name in ("ag_news", "multi30k"):  # copies, since commands write into them
        copy = tmp_path / "results/reference" / name
        shutil.copytree(ROOT / "results/reference" / name, copy, ignore=shutil.ignore_patterns("report"))
    (tmp_path / "slurm").symlink_to(ROOT / "slurm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_RESULTS", raising=False)
    return tmp_path


@pytest.mark.parametrize("code", PYTHON)
@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.usefixtures("demo")
def test_python_examples_run(code, monkeypatch, capsys):
    monkeypatch.setattr("prune.methods.METHODS", dict(prune.METHODS))  # an example registers one
    exec(compile(code, "example", "exec"), {"__name__": "__main__"})
    if "print(" in code:
        assert re.search(r"grasp|\d: [+-]\d", capsys.readouterr().out)


def test_the_protocol_of_executors_is_the_one_in_the_sources():
    (shown,) = re.findall(r"```python\n(class Executor.*?)```", TEXTS["docs/executors.md"], re.S)
    (signature,) = re.findall(r"def execute\(.*?\) -> None:", shown)
    assert signature in inspect.getsource(base)


@pytest.mark.parametrize("words", only("python", "-m", "sweep.launch"))
@pytest.mark.usefixtures("demo")
def test_launch_commands_are_accepted(words):
    if "my_grid.yaml" in words or "majority.yaml" in words:
        return  # executed by tests of their own
    arguments = ["launch", *words[3:], "--dry-run"]
    if "--local" in words and "device=cuda" in words and not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device = 'cuda'"):
            app(arguments, standalone_mode=False)
    else:
        assert app(arguments, standalone_mode=False) in (0, None)


@pytest.mark.parametrize("words", only("sweep"))
@pytest.mark.usefixtures("demo")
def test_sweep_commands_run(words):
    group: Any = typer.main.get_command(app)
    command = group.commands[words[1]]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    if (
        words[1] in ("prepare", "run") or "ID" in words
    ):  # need data, or a run's files; tests of their own run them
        return
    meant = {"full": "demo", "NAME": "demo", "DIR": "copies", "task=multi30k": "task=toy"}
    if "--to" in words:  # a copy is not written over another
        meant["results/reference"] = "copies"
    arguments = [meant.get(word, word) for word in words[1:]]
    assert app(arguments, standalone_mode=False) in (0, None)


@pytest.mark.parametrize("words", only("python", "-m", "pytest") + only("make"))
def test_targets_and_tests_are_there(words):
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        assert all(re.search(rf"^{word}:", makefile, re.M) for word in words[1:] if "=" not in word)
    else:
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


def test_the_storm_finds_what_it_needs():
    """It takes half an hour, so that here it only prints its options."""
    recipe = subprocess.run(
        ["make", "--dry-run", "--silent", "storm"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = shlex.split(recipe.stdout.splitlines()[-1])
    variables = dict(word.split("=") for word in words if "=" in word)
    program = words.index("tests/end_to_end/slurm/storm.py")
    done = subprocess.run(
        [sys.executable, words[program], "--help"],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--seed" in done.stdout


BENCHMARKS = [
    pytest.param(words, id=f"{page}: {' '.join(words)[:60]}")
    for page, words in COMMANDS
    if words[0] == "python" and words[1] != "-m"
]


@pytest.mark.parametrize("words", BENCHMARKS)
def test_programs_have_their_options(words):
    """Those that measure take minutes, so they are not run here."""
    source = (ROOT / words[1]).read_text()
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


NAMED = re.compile(r"`((?:sweep|prune|models|csrc|tests|benchmarks|docs|slurm)/[\w./*{},-]*)`")


@pytest.mark.parametrize("page", [page for page in TEXTS if page != "CHANGELOG.md"])
def test_files_that_a_page_names_are_there(page):
    """The change log is of files that were."""
    missing = [name for name in NAMED.findall(TEXTS[page]) if "{" not in name and not any(ROOT.glob(name))]
    assert not missing


def test_the_task_example_runs_as_written(work, tmp_path):
    text = (ROOT / "docs/tasks.md").read_text()
    for name in ("majority.py", "majority.yaml"):
        (code,) = re.findall(rf"```(?:python|yaml)\n(# {re.escape(name)}.*?)```", text, re.S)
        (tmp_path / name).write_text(code)
    (command,) = re.findall(r"python -m sweep.launch (--grid majority.yaml.*)", text)
    done = work(*command.replace("majority.", f"{tmp_path}/majority.").split())
    assert done.returncode == 0, done.stderr
    rows = sweep.load(work.results / "majority").to_pylist()
    assert len(rows) == 3 * (1 + 3)
    assert {row["prunable"] for row in rows} == {31 * 64 + 64 * 2}
    assert all(row["test_accuracy"] > 80 for row in rows if row["pruner"] == "dense")


def test_the_tour_runs(tmp_path, token_cache, monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", str(token_cache))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    install = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(tmp_path / "kernel")]
    subprocess.run([*install, "--name", "python3"], check=True, capture_output=True, timeout=240)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "kernel/share/jupyter"))
    notebook = nbformat.read(ROOT / "docs/tour.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "the tour is kept without outputs"
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = "".join(output.get("text", "") for output in outputs)
    assert "6 runs: 6 done" in text
    assert "steepest" in text
