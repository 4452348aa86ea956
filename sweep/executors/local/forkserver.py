"""Processes of runs, forked from one that has the imports behind it (`sweep.executors.local.forkserver_main`)."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep.core.env import source_root
from sweep.core.errors import SweepError

_SOURCE = source_root()
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class RunProcess:
    """The process of a run: a child of this one, as if it had been started by `subprocess`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit status, or minus the number of the signal that killed it; None while it lives."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end; returns what `poll` does."""
        status = self._reap(0)
        assert status is not None
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Nursery:
    """Starts runs with so many threads each. The process that they are forked from begins with the first and ends with `close`.

    This process becomes the reaper of its orphans (Linux), so that the runs are its own children and outlive the one between.
    """

    def __init__(self, threads: int) -> None:
        self._environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._warm: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None

    def start(
        self, arguments: Sequence[str], log: Path, extra: Mapping[str, str] | None = None
    ) -> RunProcess:
        """Start `python -m sweep.run ARGUMENTS` with its output appended to `log`.

        Args:
            arguments: of `sweep.run`.
            log: a file in an existing folder.
            extra: added to the environment.

        Raises:
            SweepError: no process can be started.
        """
        environment = {**os.environ, **self._environment, **(extra or {})}
        order = {"arguments": list(arguments), "environment": environment, "log": str(log)}
        answer = self._ask(order) if self._channel else None
        if answer is None:  # the first order, or somebody killed the process
            self.close()
            self._begin()
            answer = self._ask(order)
        if answer is None:
            raise SweepError("the process that runs are forked from was killed; launch again")
        if not answer.isdigit():
            raise SweepError(f"cannot start a process: {answer}")
        return RunProcess(int(answer))

    def close(self) -> None:
        """End the process that runs are forked from; the runs go on."""
        if self._channel:
            self._channel.close()
        if self._warm:
            self._warm.wait()
        self._channel = self._warm = None

    def _begin(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise SweepError(f"cannot become the parent of runs: {os.strerror(ctypes.get_errno())}")
        environment = {
            **os.environ,
            **self._environment,
            # NumPy's BLAS starts its threads when imported
            "OPENBLAS_NUM_THREADS": "1",
            # whoever asks torch for a GPU while it is imported must not initialise the driver, which does not survive a fork
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
            # the same code as this process's, whatever folder it was started from
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")])),
        }
        self._channel, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as complaint:
            # -P: a folder named `models` or `prune` where the user happens to be must not shadow the project's.
            # A session of its own: Ctrl-C is for the launcher, which passes it on in order.
            self._warm = subprocess.Popen(
                [sys.executable, "-P", "-m", "sweep.executors.local.forkserver_main", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaint,
                env=environment,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            if self._hear() is None:
                self._warm.wait()
                complaint.seek(0)
                last = (complaint.read().decode(errors="replace").strip().splitlines() or ["no word"])[-1]
                raise SweepError(f"the processes of runs cannot begin: {last}")

    def _ask(self, order: Mapping[str, object]) -> str | None:
        """The answer to an order, or None if there is nobody to answer."""
        assert self._channel
        try:
            self._channel.sendall(json.dumps(order).encode() + b"\n")
        except BrokenPipeError:
            return None
        return self._hear()

    def _hear(self) -> str | None:
        assert self._channel
        heard = b""
        while not heard.endswith(b"\n"):
            try:
                part = self._channel.recv(4096)
            except ConnectionResetError:
                return None
            if not part:
                return None
            heard += part
        return heard.decode().strip()
