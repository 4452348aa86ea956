"""A document as one HTML page that needs no other file and no network."""

import base64
import hashlib
import itertools
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment
from markupsafe import Markup, escape

from sweep.report.blocks import Block, Document, Figure
from sweep.report.style import COLOURS, inline

MOST_LINES = 1000
"""Rows of a table on the page; the CSV file has all."""

_INLINE = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*([^*]+)\*\*", r"<strong>\1</strong>"),
    (r"\*([^*\s][^*]*)\*", r"<em>\1</em>"),
)

# lighter, for a dark page; in the order of the palette
_LIGHTER = ("#4DA3DB", "#F08A4B", "#2FC79A", "#E0A3C6", "#F2BC4B", "#8CCBF2", "#B98A80")


class Ids:
    """Ids of one page: letters, digits and `-`, made from texts, and another for each text."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        if text not in self._found:
            short = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
            taken = set(self._found.values())
            numbered = (f"{short}-{number}" for number in itertools.count(2))
            self._found[text] = next(each for each in itertools.chain([short], numbered) if each not in taken)
        return self._found[text]


def to_html(document: Document, svgs: Mapping[str, str]) -> str:
    """The page. svgs: the drawing of each figure, by its name.

    No script but its own can run in it, whatever names, errors and samples contain.
    """
    ids, script = Ids(), _asset("report.js")
    return _template().render(
        document=document,
        ident=ids,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_sha256(script)}'",
        svgs={
            block.name: Markup(inline(svgs[block.name], ids(f"figure {block.name}"), str(escape(block.alt))))
            for section in document.sections
            for block in section.blocks
            if isinstance(block, Figure)
        },
        css=Markup(_asset("report.css")),
        js=Markup(script),
        light=Markup("".join(f"--c{i}: {c}; " for i, c in enumerate(COLOURS))),
        dark=Markup("".join(f"--c{i}: {c}; " for i, c in enumerate(_LIGHTER))),
        most=MOST_LINES,
    )


def rich(text: str) -> Markup:
    """Markdown's `code`, **strong** and *emphasis*; everything else as it is."""
    escaped = str(escape(text))
    for pattern, replacement in _INLINE:
        escaped = re.sub(pattern, replacement, escaped)
    return Markup(escaped)


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def kind(block: Block) -> str:
    return type(block).__name__


@cache
def _template():  # type: ignore[no-untyped-def]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"rich": rich, "kind": kind}
    return environment.from_string(_asset("report.html.j2"))


def _asset(name: str) -> str:
    return (files("sweep.report") / "assets" / name).read_text(encoding="utf-8")
