"""`python -m sweep.launch --grid NAME`: expand a grid and get every missing run executed."""

import sys
from contextlib import suppress
from pathlib import Path

from sweep.core.env import source_root


def main() -> None:
    # `python -m` looks for modules in the current directory first, where the user may have a package `models`
    with suppress(FileNotFoundError):  # a deleted directory has none; `launch` reports it
        here = Path(sys.path[0]).resolve()
        if here == Path.cwd() and here != source_root():
            del sys.path[0]
    from sweep.launch.command import launch_main

    launch_main()


if __name__ == "__main__":
    main()
