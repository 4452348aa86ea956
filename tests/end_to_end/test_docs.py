"""The examples of docs/ run as they stand."""

import io
import re
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stdout
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import sweep

ROOT = Path(__file__).resolve().parents[2]

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.S)


@pytest.mark.parametrize("code", EXAMPLES, ids=[str(n) for n in range(len(EXAMPLES))])
def test_the_examples_about_results_run(code):
    with chdir(ROOT), redirect_stdout(io.StringIO()) as shown, warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        exec(compile(code, "docs/results.md", "exec"), {"__name__": "__main__"})
    assert re.search(r"grasp|\d: [+-]\d", shown.getvalue())


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
