"""Whether the system has killed for want of memory: the control group that this process is in counts it."""

from pathlib import Path


class OutOfMemory:
    """Counts from its creation on."""

    def __init__(self) -> None:
        self._seen = _kills()

    def struck(self) -> bool:
        """Whether a process of the control group was killed that has not been told yet. False also where nothing can be known."""
        if _kills() <= self._seen:
            return False
        self._seen += 1  # each death has its own
        return True


def _kills() -> int:
    for file in _files():
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        if counts:
            return counts[0]
    return 0


def _files() -> list[Path]:
    """Where versions 1 and 2 of control groups keep the count, if they do."""
    found = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "memory":
            found.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
        elif not controllers:
            found.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
    return found
