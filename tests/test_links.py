"""What a page points to is in the repository."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)|\b(?:src|href)=[\"']([^\"']+)", re.M)


def tracked():
    # the checkout may belong to somebody else
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.split("\0") if name]


FILES = tracked()
THERE = {*FILES, *(directory for file in FILES for directory in file.parents)}
PAGES = [path for path in FILES if path.suffix == ".md"]


def links(text):
    """The relative ones, without their anchors."""
    text = re.sub(r"^(```|~~~).*?^\1|`[^`\n]*`", "", text, flags=re.M | re.S)
    found = ["".join(groups) for groups in LINK.findall(text)]
    return [unquote(link.partition("#")[0]) for link in found if not re.match(r"[a-z]+:|#", link)]


def test_links_of_all_kinds_are_found():
    text = """
[a](b.md#c) ![d](e%20f.svg "g") [h](#i) [j](https://k) <img src="l.png"> `[m](n)` [o][p] [![q](r)](s)
```
[t](u)
```
[p]: v.md
"""
    assert sorted(links(text)) == ["b.md", "e f.svg", "l.png", "r", "s", "v.md"]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_and_images_of_a_page_are_tracked(page):
    broken = []
    for link in links((ROOT / page).read_text(encoding="utf-8")):
        target = (ROOT / page.parent / link).resolve()
        if not target.is_relative_to(ROOT) or target.relative_to(ROOT) not in THERE:
            broken.append(link)
    assert not broken


def test_a_kept_report_is_its_page_and_what_that_links_to():
    kept = {path for path in FILES if path.match("results/reference/*/report/*/*")}
    shown = {
        page.parent / link
        for page in PAGES
        if page.name == "report.md"
        for link in links((ROOT / page).read_text(encoding="utf-8"))
    }
    assert kept
    assert kept == shown
