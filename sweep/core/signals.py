"""Stopping on a signal without losing work."""

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self


class Stopped(BaseException):
    """A signal asked the run to stop. Not an Exception, so that no `except Exception` on the way swallows it."""


class DeferredSignals:
    """Inside this context signals wait until `heed` calls their handlers: a step is done whole or not started.

    For those that have a handler; what is ignored, or ends the process, is left as it is (main thread only).
    """

    def __enter__(self) -> Self:
        self._noted: list[int] = []
        self._handlers = {
            int(signal_number): handler
            for signal_number in StopRequest.SIGNALS
            if callable(handler := signal.getsignal(signal_number))
        }
        for signal_number in self._handlers:
            signal.signal(signal_number, lambda signal_number, _: self._noted.append(signal_number))
        return self

    def __exit__(self, *_: object) -> None:
        for signal_number, handler in self._handlers.items():
            signal.signal(signal_number, handler)
        self.heed()

    def heed(self) -> None:
        """Call the handlers of the signals that have come, which may raise."""
        while self._noted:
            signal_number = self._noted.pop(0)
            self._handlers[signal_number](signal_number, None)


class StopRequest:
    """Turns SIGTERM, SIGUSR2 (Slurm's warnings), SIGINT and SIGHUP into `Stopped`, at once or, inside `deferred`, when asked."""

    SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.requested: str | None = None
        self._deferred = False

    def install(self) -> None:
        """Handle the signals from now on (main thread only)."""
        for signal_number in self.SIGNALS:
            if not nohup(signal_number):
                signal.signal(signal_number, self._handle)

    def ignore(self) -> None:
        """Heed no further signal: how the run ended is decided and has only to be written down."""
        for signal_number in self.SIGNALS:
            signal.signal(signal_number, signal.SIG_IGN)

    def _handle(self, signal_number: int, _frame: FrameType | None) -> None:
        first = self.requested is None
        self.requested = self.requested or signal.Signals(signal_number).name
        # a second signal must not break into what the first one started
        if first and not self._deferred:
            raise Stopped(self.requested)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal only sets `requested`; the block checks it between steps and calls `raise_if_requested`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def raise_if_requested(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.requested:
            raise Stopped(self.requested)


def nohup(signal_number: int) -> bool:
    """Whether that is the signal of a lost terminal, and this process was started to outlive it."""
    return signal_number == signal.SIGHUP and signal.getsignal(signal_number) == signal.SIG_IGN


def stop_with_parent() -> None:
    """Get SIGTERM when the parent process dies, however it does (Linux).

    Where Slurm tracks processes by their parents, one whose parent was killed would continue outside its job.
    """
    set_parent_death_signal = 1
    ctypes.CDLL(None, use_errno=True).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)
