"""Where a result comes from: code, versions, machine."""

import json
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sweep.core.env import source_root
from sweep.core.plugin_code import PluginCode

_SOURCE = source_root()
SNAPSHOT = "snapshot.json"
"""Next to the packages in a copy of the code: `code()` of what was copied."""


def code() -> dict[str, Any]:
    """`git_sha` and `git_dirty` of the checkout that this code runs from, or was copied from; None for both outside one."""
    if (_SOURCE / SNAPSHOT).is_file():
        return json.loads((_SOURCE / SNAPSHOT).read_text(encoding="utf-8"))
    sha = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain") if sha else None
    return {"git_sha": sha, "git_dirty": None if changes is None else bool(changes)}


def joined(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """`code()` of a run that was resumed under other code than it started with: every commit, in order; dirty if any was."""
    shas = [sha for sha in (before["git_sha"], now["git_sha"]) if sha]
    if len(shas) == 2:
        shas = [*before["git_sha"].split(","), now["git_sha"]]
    return {
        "git_sha": ",".join(dict.fromkeys(shas)) or None,
        "git_dirty": bool(before["git_dirty"] or now["git_dirty"]) if shas else None,
    }


def machine() -> dict[str, Any]:
    """Versions, host and processors, as the result row has them. Imports torch."""
    import torch

    return {
        "prunesweep_version": version("prunesweep"),
        "python_version": platform.python_version(),
        "torch_version": str(torch.__version__),
        "host": socket.gethostname(),
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def plugins(paths: list[Path]) -> str | None:
    """Name and digest (see `PluginCode`) of each plug-in as JSON; None without any."""
    return json.dumps({path.name: PluginCode.of(path).digest for path in paths}) if paths else None


def _git(*arguments: str) -> str | None:
    if not (_SOURCE / ".git").exists():  # an installed copy must not name the checkout it happens to be in
        return None
    try:
        # a checkout of another owner is still the code that runs
        command = [
            "git",
            "-c",
            f"safe.directory={_SOURCE}",
            "-C",
            str(_SOURCE),
            "--no-optional-locks",
            *arguments,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
