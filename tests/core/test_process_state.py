"""What an import may change of the process is as it was afterwards, and named."""

import locale
import os
import signal

import pytest
import torch

from sweep.config.plugins import load_plugins
from sweep.core.process_state import restored

CHANGES = {
    "the current directory": ("import os; os.chdir('/')", os.getcwd),
    "environment variables named SWEEP_*": (
        "import os; os.environ['SWEEP_DATA'] = '/x'; os.environ.pop('SWEEP_CACHE')",
        lambda: (os.environ.get("SWEEP_DATA"), os.environ["SWEEP_CACHE"]),
    ),
    "signal handlers": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        lambda: signal.getsignal(signal.SIGTERM),
    ),
    "the locale": (
        "import locale; locale.setlocale(locale.LC_NUMERIC, 'C' if locale.setlocale(locale.LC_NUMERIC) != 'C' else 'C.UTF-8')",
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "torch's threads": (
        "import torch; torch.set_num_threads(torch.get_num_threads() + 1)",
        torch.get_num_threads,
    ),
    "torch's default dtype": (
        "import torch; torch.set_default_dtype(torch.float64)",
        torch.get_default_dtype,
    ),
    "torch's default device": ("import torch; torch.set_default_device('meta')", torch.get_default_device),
    "torch's gradient mode": ("import torch; torch.set_grad_enabled(False)", torch.is_grad_enabled),
    "torch's deterministic algorithms": (
        "import torch; torch.use_deterministic_algorithms(True, warn_only=True)",
        torch.are_deterministic_algorithms_enabled,
    ),
    "torch's precision of matrix products": (
        "import torch; torch.set_float32_matmul_precision('medium')",
        torch.get_float32_matmul_precision,
    ),
}


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("SWEEP_CACHE", "/cache")
    monkeypatch.delenv("SWEEP_DATA", raising=False)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_plugin_changes_when_imported_is_restored_and_named(
    name, tmp_path, environment, command, capsys
):
    source, read = CHANGES[name]
    plugin = tmp_path / "mine.py"
    plugin.write_text(source + "\n")
    before = read()
    load_plugins([plugin])
    assert read() == before
    assert capsys.readouterr().err == (
        f"note: plug-in {plugin} changed {name} when it was imported; restored. Change it where it is needed\n"
    )


def test_it_is_restored_also_when_the_import_fails():
    here = os.getcwd()
    with pytest.raises(ZeroDivisionError), restored():
        os.chdir("/")
        print(1 / 0)
    assert os.getcwd() == here


def test_a_relative_path_after_a_plugin_that_changes_directory(tmp_path, command, capsys, monkeypatch):
    for name, text in (("first.py", "import os; os.chdir('/')\n"), ("second.py", "value = 3\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    load_plugins([Path("first.py"), Path("second.py")])
    assert os.getcwd() == str(tmp_path)
