"""Memory of this process, as the kernel counts it (Linux)."""

from pathlib import Path


def megabytes(name: str) -> float:
    """A line of /proc/self/status, such as VmRSS (resident now) or VmHWM (its peak), in MB (10^6 bytes)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


def reset_peak() -> None:
    """Let VmHWM start again from the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")
