"""Whether the kernel has killed a process for lack of memory: the cgroup that this process is in counts such kills."""

from pathlib import Path


class OomKillCounter:
    """Counts the kills in this process's cgroup from its creation on."""

    def __init__(self) -> None:
        self._seen = _oom_kills()

    def take(self) -> bool:
        """Whether there was a kill that no earlier call has returned True for. False also where there is no such count."""
        if _oom_kills() <= self._seen:
            return False
        self._seen += 1
        return True


def _oom_kills() -> int:
    for file in _counter_files():
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
        if counts:
            return counts[0]
    return 0


def _counter_files() -> list[Path]:
    """Where cgroups of version 1 and 2 keep the count, if they do."""
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
