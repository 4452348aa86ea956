"""Write a report, once or again and again while its sweep runs."""

import time
from collections.abc import Callable
from pathlib import Path

from sweep.files import replacing, write_text
from sweep.paths import SweepPaths
from sweep.report.as_csv import to_csv
from sweep.report.as_html import to_html
from sweep.report.as_latex import to_latex
from sweep.report.as_markdown import table as markdown_table
from sweep.report.as_markdown import to_markdown
from sweep.report.blocks import Document, Figure, Table
from sweep.report.content import document
from sweep.report.material import gather
from sweep.report.style import stand_alone, styled, to_svg

WATCH_SECONDS = 10.0


def write_report(sweep: SweepPaths) -> Path:
    """Write the report of the complete runs of `sweep` and return its path. Other runs are counted in it, never mixed in."""
    _write(sweep, document(gather(sweep)))
    return sweep.report_markdown


def _write(sweep: SweepPaths, content: Document) -> None:
    svgs = {}
    for block in (block for section in content.sections for block in section.blocks):
        if isinstance(block, Table):
            _write_table(sweep, block)
        elif isinstance(block, Figure):
            svgs[block.name] = to_svg(block.drawing)
            write_text(sweep.plot(f"{block.name}.svg"), stand_alone(svgs[block.name]))
            write_text(sweep.table(f"{block.data.name}.csv"), to_csv(block.data))
    _write_pictures(sweep, content)
    write_text(sweep.report_html, to_html(content, svgs))
    write_text(sweep.report_markdown, to_markdown(content))


def _write_table(sweep: SweepPaths, table: Table) -> None:
    write_text(sweep.table(f"{table.name}.csv"), to_csv(table))
    if not table.long:
        write_text(sweep.table(f"{table.name}.md"), f"{table.caption}\n\n{markdown_table(table)}\n")
        write_text(sweep.table(f"{table.name}.tex"), to_latex(table))


def _write_pictures(sweep: SweepPaths, content: Document) -> None:
    """The first figure of each task also as PNG, for pages that take no SVG."""
    for section in content.sections:
        block = section.blocks[0] if section.blocks else None
        if section.level == 2 and isinstance(block, Figure):
            with replacing(sweep.plot(f"{block.name}.png")) as temporary, styled():
                block.drawing.savefig(
                    temporary, format="png", dpi=150, facecolor="white", metadata={"Software": None}
                )


def watch(sweep: SweepPaths, say: Callable[[str], None]) -> None:
    """Write the report anew whenever a run has ended, until none is running or waiting for one that is."""
    before = None
    while True:
        material = gather(sweep)
        states = [(status.run_id, status.state) for status in material.statuses]
        if states != before:
            _write(sweep, document(material))
            done = sum(state == "done" for _, state in states)
            say(f"{time.strftime('%H:%M:%S')}  {done} of {len(states)} runs  {sweep.report_html}")
            before = states
        if not any(state == "running" for _, state in states):
            return
        time.sleep(WATCH_SECONDS)
