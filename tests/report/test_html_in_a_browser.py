"""The page in a headless Chromium: widths, dark mode, keyboard, sorting, filters, print.

Runs where a Chromium is installed; with SWEEP_TEST_BROWSER=1 a missing one is a failure.
"""

import os
import shutil
import subprocess

import pytest
from PIL import Image
from support.browser import CHROMIUM, Browser
from support.rows import write_sweep

from sweep.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM and os.environ.get("SWEEP_TEST_BROWSER") != "1",
        reason="no Chromium on this machine (apt install chromium)",
    ),
]

DESKTOP, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    sweep = write_sweep(tmp_path_factory.mktemp("page") / "s")
    write_report(sweep)
    return sweep.report_html


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    assert CHROMIUM, "SWEEP_TEST_BROWSER=1 and no Chromium: apt install chromium"
    with Browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def column(browser, table, index):
    rows = f"[...document.querySelector('table[data-name=\"{table}\"]').tBodies[0].rows]"
    return browser.eval(f"{rows}.filter(r => !r.hidden).map(r => r.cells[{index}].textContent)")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_and_is_readable(browser, page, tmp_path, size, dark):
    browser.open(page, *size, dark=dark, phone=size == PHONE)
    assert browser.eval("document.documentElement.scrollWidth") == size[0]
    browser.screenshot(tmp_path / "shot.png")
    shot = Image.open(tmp_path / "shot.png").convert("L")
    assert shot.size == size
    # the background by far the most of it, and text that stands out from it
    background = shot.getpixel((size[0] - 3, 3))
    assert background < 40 if dark else background > 240
    values = shot.tobytes()
    assert max(values) - min(values) > 150
    small = browser.eval(
        """[...document.querySelectorAll('p, td, li, figcaption, button')]
        .filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length"""
    )
    assert small == 0
    assert contrast(browser) >= 4.5
    loads = [
        e["params"]["request"]["url"]
        for e in browser.events
        if e.get("method") == "Network.requestWillBeSent"
    ]
    assert {url.partition(":")[0] for url in loads} <= {"file", "data"}
    assert [
        e for e in browser.events if e.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")
    ] == []


def contrast(browser):
    """The least contrast (WCAG 2) of text colours with the page's background, or that of the box they are in."""
    return browser.eval("""(() => {
      const light = (c) => {
        const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3)
          .map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor;
          if (c !== "rgba(0, 0, 0, 0)") return c;
        }
        return "rgb(255, 255, 255)";
      };
      const texts = "p, li, td, th, a, summary, figcaption, h1, h2, h3, label, select, button";
      return Math.min(...[...document.querySelectorAll(texts)].map((e) => {
        const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      }));
    })()""")


def test_figures_follow_the_page(browser, page):
    for dark in (False, True):
        browser.open(page, *DESKTOP, dark=dark)
        colour = browser.eval("getComputedStyle(document.querySelector('figure svg text')).fill")
        assert colour == browser.eval("getComputedStyle(document.body).color")
        inside = browser.eval(
            "[...document.querySelectorAll('figure:not(.wide) svg')].every(s => s.getBoundingClientRect().right <= innerWidth)"
        )
        assert inside


def test_tables_sort_by_keyboard(browser, page):
    browser.open(page, *DESKTOP)
    before = column(browser, "toy_runs", 3)
    browser.eval("document.querySelectorAll('table[data-name=toy_runs] th button')[2].focus()")
    browser.press("Tab", "Enter")
    up = column(browser, "toy_runs", 3)
    assert up == sorted(before, key=float)
    assert up != before
    assert browser.eval("document.activeElement.closest('th').ariaSort") == "ascending"
    browser.press(" ")
    assert column(browser, "toy_runs", 3) == up[::-1]
    # 9,… before 10,…: by value, not by characters
    browser.eval("document.querySelectorAll('table[data-name=toy_runs] th button')[5].click()")
    assert column(browser, "toy_runs", 5)[:7] == ["10"] * 6 + ["100"]


def test_everything_is_reached_without_a_mouse(browser, page):
    browser.open(page, *DESKTOP)
    browser.press("Tab")
    assert browser.eval("document.activeElement.className") == "skip"
    browser.press("Enter")
    assert browser.eval("location.hash") == "#content"
    reachable = browser.eval("""[...document.querySelectorAll('button, select, summary, a, .scroll')]
        .filter(e => e.checkVisibility() && e.tabIndex < 0).length""")
    assert reachable == 0
    browser.eval("document.querySelector('figure details summary').focus()")
    browser.press("Enter")
    assert browser.eval("document.querySelector('figure details').open")
    outline = browser.eval("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def choose(browser, name, value):
    browser.eval(f"""(() => {{ const s = document.querySelector('select[name={name}]'); s.value = {value!r};
        s.dispatchEvent(new Event('change', {{bubbles: true}})); }})()""")


def test_filters(browser, page):
    browser.open(page, *DESKTOP)
    choose(browser, "pruner", "grasp")
    assert set(column(browser, "toy_runs", 0)) == {"grasp", "dense"}
    heads = browser.eval(
        "[...document.querySelectorAll('table[data-name=toy_accuracy] th')].filter(e => !e.hidden).map(e => e.textContent)"
    )
    assert heads == ["compression", "density", "grasp"]
    of_random = """[...document.querySelectorAll('svg [data-pruner=random]')]
        .filter(e => getComputedStyle(e).display !== 'none').length"""
    assert browser.eval(of_random) == 0
    choose(browser, "seed", "1")
    assert set(column(browser, "toy_runs", 2)) == {"1"}
    assert "Means and intervals stay those of all seeds" in browser.eval(
        "document.getElementById('said').textContent"
    )
    browser.eval(
        "document.querySelector('#filters button').click(); new Promise(done => setTimeout(done, 0))"
    )
    assert len(column(browser, "toy_runs", 0)) == 15
    assert browser.eval(of_random) > 0
    assert browser.eval("document.getElementById('said').textContent") == ""


def test_it_prints(browser, page, tmp_path):
    browser.open(page, *DESKTOP, dark=True)
    browser.pdf(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")
    browser.call(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    try:
        assert browser.eval("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        shown = browser.eval(
            "[...document.querySelectorAll('#filters, nav, .tools')].filter(e => e.checkVisibility()).length"
        )
        assert shown == 0
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", str(tmp_path / "report.pdf"), "-"], capture_output=True, text=True, check=True
        ).stdout
        assert "Provenance" in text
