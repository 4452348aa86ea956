"""The examples of docs/ run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs/results.md").read_text(), re.S)


@pytest.mark.parametrize("code", EXAMPLES, ids=[str(n) for n in range(len(EXAMPLES))])
def test_the_examples_about_results_run(code):
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"grasp|\d: [+-]\d", done.stdout)


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
