"""Processes that work in turn, a piece each, so that a change of the machine's speed affects all of them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Turn = Callable[[], None]
"""Called after each piece of work, and once before the first: reports how long it took and waits for permission to continue."""


class Worker:
    """The caller's side of a process that runs `work`.

    Args:
        arguments: of the calling script, which starts itself again with them.
        environment: variables in addition to the caller's.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict(environment or {}),
        )
        self._read()

    def piece(self) -> float:
        """Let it do one piece; return the seconds that it took."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._read()

    def result(self) -> Any:
        """Let it end after its last piece; return its result."""
        return json.loads(self._process.communicate("go\n")[0])

    def _read(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with exit status {self._process.wait()}")
        return json.loads(line)


def work(job: Callable[[Turn], Any]) -> None:
    """The process's side: a line of JSON after each piece, then wait for a line on stdin; at the end the job's result."""
    start = time.perf_counter()

    def turn() -> None:
        nonlocal start
        print(json.dumps(time.perf_counter() - start), flush=True)
        sys.stdin.readline()
        start = time.perf_counter()

    print(json.dumps(job(turn)), flush=True)
