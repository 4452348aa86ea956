"""Names are data: whatever a task, a pruner or a sweep is called, every file of a report shows it, and does nothing else."""

import csv
import re
from html.parser import HTMLParser

import pytest
from support.rows import change, write_sweep

from sweep.report import write_report
from sweep.report.render_html import Ids
from sweep.report.render_markdown import inert

pytestmark = pytest.mark.slow

NAMES = [
    "_mine", "a$_$b", "$\\frac$", "back\\slash\\1", "\"><img src=x onerror=alert(1)>", "=cmd|' 'C!A0", "url(#x", "v1.23456",
    "[x](javascript:alert(1))", "<b>bold<b>", "a b", "of|x|1", "100%", "{}", "&amp;", "`code`", "'",
]  # fmt: skip
TASK = '_t$x$ "<i>\\1|'
COMPRESSIONS = (0.0, 0.125, 0.1255, 0.126)


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def values(self, attribute):
        return {attributes[attribute] for _, attributes in self.tags if attribute in attributes}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hostile") / "=s $weep$ <u>"
    sweep = write_sweep(directory, pruners=("random", *NAMES), compressions=COMPRESSIONS, task=TASK)
    change(
        sweep,
        next(iter(sorted(path.name for path in sweep.runs.iterdir()))),
        notes="</script><script>x()</script>",
    )
    write_report(sweep)
    return sweep


@pytest.fixture(scope="module")
def page(hostile):
    return Page(hostile.report_html.read_text())


def test_nothing_but_the_page_itself_runs_in_it(page):
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == 1
    assert not {"img", "b", "i", "u", "iframe", "object", "base"} & set(names)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {target[:1] for target in page.values("href")} <= {"#", "d"}
    (policy,) = {
        each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy"
    }
    assert policy.startswith(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    )


def test_ids_are_plain_and_of_one_element_and_references_find_them(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", each) for each in ids)
    targets = {target[1:] for target in page.values("href") | page.values("xlink:href") if target[:1] == "#"}
    urls = {
        m
        for _, attributes in page.tags
        for v in attributes.values()
        if v
        for m in re.findall(r"url\(#([a-z0-9-]+)\)", v)
    }
    assert targets | urls | page.values("aria-labelledby") <= set(ids)


def test_the_filters_find_every_pruner_under_its_name(page):
    assert set(NAMES) <= page.values("data-pruner")
    options = page.text
    assert all(name in options for name in [*NAMES, TASK])


def test_legends_have_all_names_and_axes_all_compressions(hostile):
    svg = next(path for path in hostile.plot("x").parent.glob("*accuracy.svg")).read_text()
    shown = [text.strip("\u2009 ") for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]
    parsed = [Page(text).text for text in shown]
    assert set(NAMES) <= set(parsed)
    assert {"0.125", "0.1255", "0.126"} <= set(parsed)


def test_coordinates_are_rounded(hostile):
    svg = next(path for path in hostile.plot("x").parent.glob("*accuracy.svg")).read_text()
    drawn = re.findall(r' (?:d|x|y|points|transform)="([^"]*)"', svg)
    assert drawn
    assert not re.search(r"\d\.\d{3}", " ".join(drawn))


def test_markdown_has_no_html_and_no_links_of_theirs(hostile):
    text = re.sub(r"`[^`\n]*`", "", hostile.report_markdown.read_text())
    assert not re.search(r"<\w|</", text)
    assert "](javascript" not in text
    assert all(not re.search(r"[ <>\\]", target) for target in re.findall(r"\]\(([^)]*)\)", text))


def test_no_cell_of_a_csv_file_is_a_formula(hostile):
    formulas = []
    for path in hostile.table("x").parent.glob("*.csv"):
        for row in csv.reader(path.open(newline="")):
            formulas += [cell for cell in row if re.match(r"[=+@\t]|-(?![\d.])", cell)]
    assert formulas == []


def test_labels_of_latex_are_plain(hostile):
    for path in hostile.table("x").parent.glob("*.tex"):
        text = path.read_text()
        assert re.search(r"\\label\{tab:[A-Za-z0-9-]+\}", text)
        assert not re.search(
            r"(?<!\\)[_#&$%](?!pm|-|\\times)",
            re.sub(r"\\label\{[^}]*\}|\$\\?\w*-?\$| & |\{%$", "", text, flags=re.M),
        )


def test_ids_by_hand():
    ids = Ids()
    assert [ids(text) for text in ("A b", "a-b", "A b", "<>", "$", "a b")] == [
        "a-b",
        "a-b-2",
        "a-b",
        "part",
        "part-2",
        "a-b-3",
    ]


def test_inert_by_hand():
    assert inert("a <b> & `<c> &` [x](y)") == "a &lt;b> &amp; `<c> &` [x]\\(y)"
