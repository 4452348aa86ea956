"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer


def folder(text: str) -> Path:
    if not text:  # a shell's variable that is not set; as a path it would be the current folder
        raise typer.BadParameter("is empty; name a folder or leave the option out")
    return Path(text)


Results = Annotated[
    Path | None,
    typer.Option(help="folder of the sweeps [SWEEP_RESULTS, else ./results]", metavar="DIR", parser=folder),
]

DataDir = Annotated[
    Path | None,
    typer.Option(help="local copy of the data [SWEEP_DATA, else download]", metavar="DIR", parser=folder),
]

Unverified = Annotated[
    bool,
    typer.Option(
        "--allow-unverified-data", help="take local data whose hash is not the published one; rows say so"
    ),
]

Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="file with tasks or pruners of one's own", metavar="FILE.py"),
]
