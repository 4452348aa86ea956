"""Write a report, once or repeatedly while its sweep runs."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from sweep.core.atomic_files import replacing, write_text
from sweep.report.blocks import Document, Figure, Table
from sweep.report.document import document
from sweep.report.drawing import drawn
from sweep.report.file_list import instead_of_the_last
from sweep.report.inputs import gather
from sweep.report.render_csv import to_csv
from sweep.report.render_html import to_html
from sweep.report.render_latex import to_latex
from sweep.report.render_markdown import cells_of, to_markdown
from sweep.report.style import stand_alone, styled
from sweep.store.layout import SweepPaths

WATCH_SECONDS = 10.0


def write_report(sweep: SweepPaths) -> Path:
    """Write the report of the complete runs of `sweep` and return its path. Other runs are counted in it, never mixed in."""
    _write(sweep, document(gather(sweep)))
    return sweep.report_markdown


def _write(sweep: SweepPaths, content: Document) -> None:
    content, svgs = drawn(content)
    texts = _texts(sweep, content, svgs)
    pictures = _pictures(sweep, content)
    with instead_of_the_last(sweep, [*texts, *pictures]):
        for path, drawing in pictures.items():
            with replacing(path) as temporary, styled():
                drawing.savefig(
                    temporary, format="png", dpi=150, facecolor="white", metadata={"Software": None}
                )
        for path, text in texts.items():
            write_text(path, text)


def _texts(sweep: SweepPaths, content: Document, svgs: Mapping[str, str]) -> dict[Path, str]:
    """What is in each file, the pages last: they point to the others."""
    texts: dict[Path, str] = {}
    for block in (block for section in content.sections for block in section.blocks):
        if isinstance(block, Table):
            texts[sweep.table(f"{block.name}.csv")] = to_csv(block)
            if not block.long:
                text = f"{block.caption}\n\n{cells_of(block)}\n"
                texts[sweep.table(f"{block.name}.md")] = text
                texts[sweep.table(f"{block.name}.tex")] = to_latex(block)
        elif isinstance(block, Figure):
            texts[sweep.plot(f"{block.name}.svg")] = stand_alone(svgs[block.name])
            texts[sweep.table(f"{block.data.name}.csv")] = to_csv(block.data)
    texts[sweep.report_html] = to_html(content, svgs)
    texts[sweep.report_markdown] = to_markdown(content)
    return texts


def _pictures(sweep: SweepPaths, content: Document) -> dict[Path, Drawing]:
    """The first figure of each task, to be a PNG too, for pages that take no SVG."""
    firsts = (section.blocks[0] for section in content.sections if section.level == 2 and section.blocks)
    return {sweep.plot(f"{block.name}.png"): block.drawing for block in firsts if isinstance(block, Figure)}


def watch(sweep: SweepPaths, say: Callable[[str], None]) -> None:
    """Write the report again whenever a run ends, until none is running or waiting for one that is."""
    before = None
    while True:
        inputs = gather(sweep)
        states = [(status.run_id, status.state) for status in inputs.statuses]
        if states != before:
            _write(sweep, document(inputs))
            done = sum(state == "done" for _, state in states)
            say(f"{time.strftime('%H:%M:%S')}  {done} of {len(states)} runs  {sweep.report_html}")
            before = states
        if not any(state == "running" for _, state in states):
            return
        time.sleep(WATCH_SECONDS)
