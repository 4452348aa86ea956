"""File systems of a test's own: full, small or read-only ones."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """`mount OPTIONS folder` inside; skips the test, saying why, where this user or machine may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a file system of its own, and mounting failed: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def small_disk(folder: Path, size: str = "1m"):
    """A memory file system of `size` bytes at `folder`."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def remount(folder: Path, options: str) -> None:
    """Change a mounted file system, e.g. to `ro`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
