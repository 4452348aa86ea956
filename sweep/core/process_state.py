"""The state of a process that a module may change while it is imported, and which runs must not inherit from it."""

import locale
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# what the project installs handlers for; a library may have others
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class _Part:
    """One thing that is the process's: what people call it, how it is read and put back."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]


@contextmanager
def restored() -> Iterator[list[str]]:
    """Restore the state of the process at the end, also after an exception.

    Yields a list, which has afterwards the names of what had been changed. Loads torch.
    """
    parts = [*_PARTS, *_torch_parts()]
    before = [part.read() for part in parts]
    changed: list[str] = []
    try:
        yield changed
    finally:
        for part, value in zip(parts, before, strict=True):
            if part.read() != value:
                part.restore(value)
                changed.append(part.name)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted: there is nothing to return to
        return None


def _restore_directory(before: str | None) -> None:
    if before is not None:
        os.chdir(before)


def _variables() -> dict[str, str]:
    """Those of this project alone: a library may be configured by others, also later than it is imported."""
    return {name: value for name, value in os.environ.items() if name.startswith("SWEEP_")}


def _restore_variables(before: dict[str, str]) -> None:
    for name in _variables().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in _SIGNALS]


def _restore_handlers(before: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, before, strict=True):
        if handler is not None:  # None: installed by something other than Python, and left to it
            signal.signal(number, handler)


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


_PARTS = (
    _Part("the current directory", _directory, _restore_directory),
    _Part("environment variables named SWEEP_*", _variables, _restore_variables),
    _Part("signal handlers", _handlers, _restore_handlers),
    _Part("the locale", _locale, lambda before: locale.setlocale(locale.LC_ALL, before)),
)


def _torch_parts() -> tuple[_Part, ...]:
    import torch  # on demand: commands without plug-ins may not need it

    return (
        _Part("torch's threads", torch.get_num_threads, torch.set_num_threads),
        _Part("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        _Part("torch's default device", torch.get_default_device, _set_default_device),
        _Part("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
        _Part(
            "torch's deterministic algorithms",
            lambda: (
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            lambda before: torch.use_deterministic_algorithms(before[0], warn_only=before[1]),
        ),
        _Part(
            "torch's precision of matrix products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
    )


def _set_default_device(before: Any) -> None:
    import torch

    # "cpu" would be a mode that every call goes through from then on; None is what it was
    torch.set_default_device(None if before.type == "cpu" else before)
