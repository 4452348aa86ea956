"""File systems of a test's own: full, small or read-only ones."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(directory: Path, *options: str) -> Iterator[Path]:
    """`mount OPTIONS directory` inside; skips the test, saying why, where this user or machine may not mount."""
    directory.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(directory)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a file system of its own, and mounting failed: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def small_disk(directory: Path, size: str = "1m"):
    """A memory file system of `size` bytes at `directory`."""
    return mounted(directory, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def remount(directory: Path, options: str) -> None:
    """Change a mounted file system, e.g. to `ro`."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(directory)], check=True)
