"""Figures look the same whatever a user has set for matplotlib, and one that cannot be drawn leaves the report whole."""

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure as Drawing
from support.rows import write_sweep

from sweep.report import document, write_report, writer
from sweep.report.blocks import Column, Document, Figure, Line, Notice, Section, Table, plain
from sweep.report.drawing import drawn

pytestmark = pytest.mark.slow

USERS = {
    "text.usetex": True,
    "font.size": 40,
    "savefig.transparent": True,
    "axes.prop_cycle": "cycler(color='rgb')",
}


def files(sweep):
    write_report(sweep)
    found = (path for path in sweep.report_markdown.parent.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in found}


def test_a_users_matplotlibrc_does_not_reach_the_report(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    before = files(sweep)
    with mpl.rc_context(USERS):
        after = files(sweep)
        assert mpl.rcParams["text.usetex"] is True  # nor the report's style the user's
    assert {name for name in before if before[name] != after[name]} == set()
    assert any(name.endswith(".png") for name in before)
    assert any(name.endswith(".svg") for name in before)


def figure(name, text):
    drawing = Drawing()
    drawing.text(0.5, 0.5, text)
    data = Table(f"{name}_data", "Its data.", [Column("x")], [Line([plain(1.0, 2)], None, None)])
    return Figure(name, "A caption.", "an alt", drawing, data)


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_its_data():
    good, bad = figure("good", "$x$"), figure("bad", r"$\nosuchcommand$")
    content, svgs = drawn(Document("t", [Section("One", [good, bad])], {}))
    assert list(svgs) == ["good"]
    first, warning, data = content.sections[0].blocks
    assert (first, data) == (good, bad.data)
    assert isinstance(warning, Notice)
    assert warning.text.startswith("The figure bad could not be drawn (ValueError: ")


def test_such_a_report_is_written(tmp_path, monkeypatch: pytest.MonkeyPatch):
    whole = document.document

    def with_a_bad_one(inputs):
        content = whole(inputs)
        return Document(
            content.title, [*content.sections, Section("X", [figure("bad", r"$\no$")], "toy")], {}
        )

    monkeypatch.setattr(writer, "document", with_a_bad_one)
    found = files(write_sweep(tmp_path / "s"))
    assert b"The figure bad could not be drawn" in found["report.md"]
    assert b"The figure bad could not be drawn" in found["report.html"]
    assert "bad_data.csv" in found
    assert "bad.svg" not in found
