"""A table as LaTeX, for `\\input` into a paper that loads booktabs and graphicx."""

import re

from sweep.report.blocks import Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": r"$-$", "–": "--", "…": r"\dots{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "✕": r"$\times$",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """A `table` environment with caption and label, no wider than the text."""
    columns = "".join("r" if column.numeric else "l" for column in table.columns)
    header = " & ".join(escape(column.title) for column in table.columns)
    lines = [" & ".join(escape(cell.text.replace("**", "")) for cell in line.cells) for line in table.lines]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9-]+', '-', table.name)}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rf"{header} \\",
            r"\midrule",
            *(rf"{line} \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def escape(text: str) -> str:
    """`text` as LaTeX prints it."""
    return "".join(_SPECIAL.get(character, character) for character in text)
