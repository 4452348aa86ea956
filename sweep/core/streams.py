"""Standard output and error that may go away or know few characters, which must not end runs."""

import errno
import io
import os
import sys


class Forgiving(io.TextIOWrapper):
    """A stream that drops what cannot be written (reader gone, disk full) and shows `?` for characters that it does not know.

    Attributes:
        failure: the first error of the system, or None.
    """

    failure: OSError | None = None

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.failure = self.failure or error
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.failure = self.failure or error


def install() -> None:
    """Make `sys.stdout` and `sys.stderr` forgiving, where they are open. No other file gets the descriptor of one that is not."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # the next file or socket would be taken for a standard stream by a child
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, Forgiving):
            encoding, line_buffering = stream.encoding, stream.line_buffering
            forgiving = Forgiving(
                stream.detach(), encoding=encoding, errors="replace", line_buffering=line_buffering
            )
            setattr(sys, name, forgiving)


def output_failure() -> OSError | None:
    """Why output was lost; None if it was not, or if its reader had read enough (`| head`)."""
    failure = sys.stdout.failure if isinstance(sys.stdout, Forgiving) else None
    return failure if failure and failure.errno != errno.EPIPE else None
