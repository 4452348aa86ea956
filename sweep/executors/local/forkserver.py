"""Processes of runs, forked from one that has done the imports (`sweep.executors.local.forkserver_main`)."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sweep.core.env import source_root
from sweep.core.errors import SweepError

_SOURCE = source_root()
_HEED_SECONDS = 0.5
_ANSWER_SECONDS = 300.0
"""Importing torch from a file server that many nodes read at once may take minutes."""
_END_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class ChildProcess:
    """The process of a run: a child of this one, as if it had been started by `subprocess`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Exit status, or minus the number of the signal that killed it; None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end; returns what `poll` does."""
        status = self._reap(0)
        assert status is not None
        return status

    def send_signal(self, signal_number: int) -> None:
        """Send a signal, unless the process is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, signal_number)

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


class ForkServer:
    """Starts runs with `threads` threads each. The server process starts with the first run and ends with `close`.

    The calling process becomes the reaper of its orphans (Linux), so that the runs are its own children and outlive the server
    process.
    """

    def __init__(self, threads: int) -> None:
        self._environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._heed: Callable[[], None] = lambda: None

    def start(
        self,
        arguments: Sequence[str],
        log: Path,
        extra: Mapping[str, str] | None = None,
        heed: Callable[[], None] = lambda: None,
    ) -> ChildProcess:
        """Start `python -m sweep.run ARGUMENTS` with its output appended to `log`.

        Args:
            arguments: of `sweep.run`.
            log: a file in an existing directory.
            extra: added to the environment.
            heed: called while the server process does not answer; what it raises ends that process, and the wait.

        Raises:
            SweepError: no process can be started, or the server process does not answer for some minutes.
        """
        self._heed = heed
        environment = {**os.environ, **self._environment, **(extra or {})}
        request = {"arguments": list(arguments), "environment": environment, "log": str(log)}
        reply = self._send(request) if self._channel else None
        if reply is None:  # the first request, or somebody has killed the server process
            self.close()
            self._start_server()
            reply = self._send(request)
        if reply is None:
            raise SweepError("the process that runs are forked from was killed; launch again")
        if not reply.isdigit():
            raise SweepError(f"cannot start a process: {reply}")
        return ChildProcess(int(reply))

    def close(self) -> None:
        """End the server process; the runs continue."""
        if self._channel:
            self._channel.close()
        if self._process:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:  # stopped, or waiting for a file system
                self._abandon()
        self._channel = self._process = None

    def _start_server(self) -> None:
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
            # the order of a set of strings, which a custom task may go through: the same in every launch, as in every run of one
            "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED") or "0",
            # the same code as this process's, whatever directory it was started from
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_SOURCE), os.environ.get("PYTHONPATH")])),
        }
        self._channel, theirs = socket.socketpair()
        with theirs, tempfile.TemporaryFile() as errors:
            # -P: a directory `models` or `prune` in the user's current one must not shadow the project's.
            # A new session: Ctrl-C is for the launcher, which stops the runs in order.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sweep.executors.local.forkserver_main", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
            theirs.close()
            if self._receive() is None:
                self._process.wait()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                raise SweepError(
                    f"the processes of runs cannot start: {lines[-1] if lines else 'no error message'}"
                )

    def _keep_waiting(self, limit: float) -> None:
        """Return if the reply may still come; else end the server process, and raise."""
        try:
            self._heed()
            if time.monotonic() > limit:
                raise SweepError(
                    f"the process that runs are forked from has not answered for {_ANSWER_SECONDS:.0f} s; launch again when this "
                    "machine and its file systems respond"
                )
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        """End a server process that does not answer, so that it starts nothing later."""
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # it waits for a file system
                self._process.wait(_END_SECONDS)
        self._channel = self._process = None

    def _send(self, request: Mapping[str, object]) -> str | None:
        """The reply to a request; None if the server process is gone."""
        assert self._channel
        try:
            self._channel.sendall(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            return None
        return self._receive()

    def _receive(self) -> str | None:
        assert self._channel
        received = b""
        self._channel.settimeout(_HEED_SECONDS)
        limit = time.monotonic() + _ANSWER_SECONDS
        while not received.endswith(b"\n"):
            try:
                part = self._channel.recv(4096)
            except ConnectionResetError:
                return None
            except TimeoutError:
                self._keep_waiting(limit)
                continue
            if not part:
                return None
            received += part
        return received.decode().strip()
