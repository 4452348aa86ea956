"""The figures of a document as SVG. One that cannot be drawn is no reason to have no report."""

from dataclasses import replace

from sweep.core.errors import summarise_exception
from sweep.report.blocks import Block, Document, Figure, Notice
from sweep.report.style import to_svg


def drawn(content: Document) -> tuple[Document, dict[str, str]]:
    """`content` and the SVG of its figures by name; one that cannot be drawn is a warning and its data there."""
    svgs: dict[str, str] = {}

    def blocks_of(block: Block) -> list[Block]:
        if not isinstance(block, Figure):
            return [block]
        try:
            svgs[block.name] = to_svg(block.drawing)
        except Exception as error:  # whatever matplotlib raises; the report has it
            text = f"The figure {block.name} could not be drawn ({summarise_exception(error)}); these are its data."
            return [Notice("warning", text), block.data]
        return [block]

    sections = [
        replace(section, blocks=[shown for block in section.blocks for shown in blocks_of(block)])
        for section in content.sections
    ]
    return replace(content, sections=sections), svgs
