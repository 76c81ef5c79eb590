"""The page of an evaluation in headless Chromium."""

import numpy as np
import pytest
from browser import Browser
from hostile import FILES, NAMES, arguments

from kseg.evaluation import write_report

WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
CLIP = "document.querySelector('canvas').style.clipPath"
PAINTED = """[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 60, 48).data]
  .filter((value, at) => at % 4 === 3 && value).length"""
CONTRASTS = """(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((x) => x / 255)
    .map((x) => (x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, at) => sum + x * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (part) => {
    if (!part) return numbers(getComputedStyle(document.documentElement).backgroundColor).slice(0, 3);
    const [r, g, b, a = 1] = numbers(getComputedStyle(part).backgroundColor);
    if (a === 1) return [r, g, b];
    const below = behind(part.parentElement);
    return [r, g, b].map((x, at) => a * x + (1 - a) * below[at]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const part = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !part.offsetParent || part.closest('svg')) continue;
    const pair = [light(numbers(getComputedStyle(part).color)), light(behind(part))];
    const [one, other] = pair.sort((a, b) => b - a);
    found.push([(one + 0.05) / (other + 0.05), walker.currentNode.data]);
  }
  return found.sort((a, b) => a[0] - b[0])[0];
})()"""


@pytest.fixture
def browser(tmp_path):
    opened = Browser(f"--user-data-dir={tmp_path}/profile")
    for domain in ("Network", "Runtime", "Log", "Page"):
        opened.call(f"{domain}.enable")
    yield opened
    opened.close()


def show(browser, path, width=1280, scheme="light"):
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=width < 500,
    )
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=path.as_uri())
    browser.wait_for('document.body?.dataset.ready == "true"')


def check_quiet(browser, path):
    """Nothing left the page, nothing went wrong, no name ran."""
    told = [(event["method"], event["params"]) for event in browser.events]
    asked = [params["request"]["url"] for method, params in told if method == "Network.requestWillBeSent"]
    assert path.as_uri() in asked
    assert [url for url in asked if url != path.as_uri() and not url.startswith("data:")] == []
    wrong = [each for each in told if each[0] in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled")]
    entries = [params["entry"] for method, params in told if method == "Log.entryAdded"]
    wrong += [entry for entry in entries if entry["level"] == "error"]  # it warns of what the test reads
    assert wrong == []
    assert browser.evaluate("window.hacked === undefined")


def test_the_page_in_a_browser(hostile, browser, tmp_path):
    """Slider, filter and keyboard; hostile names; no request: in one go, as a browser takes two seconds."""
    path = tmp_path / "report.html"
    evaluations, others = arguments(hostile)
    write_report(path, evaluations, **others)
    show(browser, path)
    shown = browser.evaluate("[...document.querySelectorAll('bdi')].map((each) => each.textContent)")
    assert {*NAMES, *FILES, *evaluations} <= set(shown)
    browser.press("Tab")  # the first stop skips what is above the scores
    assert browser.evaluate("document.activeElement.className") == "skip"
    browser.press("Enter")
    assert browser.evaluate("document.activeElement.id") == "main"
    browser.evaluate("document.querySelector('input[type=range]').focus()")
    assert browser.evaluate(CLIP) == "inset(0px 0px 0px 50%)"
    browser.press("ArrowRight")
    assert browser.evaluate(CLIP) == "inset(0px 0px 0px 51%)"
    browser.press("Home")
    assert browser.evaluate(CLIP) in ("inset(0px 0px 0px 0%)", "inset(0px)")
    (whole, sample) = browser.evaluate(PAINTED), hostile.worst[0]
    assert whole == 60 * 48
    browser.evaluate("document.querySelector('input[value=prediction]').focus()")
    browser.press("ArrowRight")
    assert browser.evaluate("document.activeElement.value") == "difference"
    assert browser.evaluate(PAINTED) == sample.wrong.sum() + (sample.true < 0).sum()
    browser.press("ArrowLeft")
    chosen = int(np.argmax(np.bincount(sample.predicted.ravel())))
    browser.evaluate(f"document.querySelector('#filter [value=\"{chosen}\"]').focus()")
    browser.press(" ", "Space")
    assert browser.evaluate(PAINTED) == (sample.predicted != chosen).sum()
    rows = "[...document.querySelectorAll('.model .classes tbody tr')].map((row) => row.hidden)"
    assert browser.evaluate(rows) == [index == chosen for index in range(6)]
    browser.evaluate("document.getElementById('none').click()")
    assert browser.evaluate(PAINTED) == 0 and all(browser.evaluate(rows))
    assert browser.evaluate("document.getElementById('chosen').textContent") == "0 of 6 classes"
    browser.evaluate("document.getElementById('all').click()")
    browser.evaluate("document.querySelector('.matrix td').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    text = browser.evaluate("document.querySelector('.readout').textContent")
    assert NAMES[1] in text and f"{hostile.matrix[1, 1]:,} pixels" in text
    check_quiet(browser, path)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read_on_every_screen(hostile, browser, tmp_path, scheme):
    path = tmp_path / "report.html"
    write_report(path, {"one": hostile, "m" * 120: hostile}, data_root="d" * 200, command="c " * 90)
    for width in (320, 375, 768, 1280):
        show(browser, path, width, scheme)
        scrolled, seen = browser.evaluate(WIDTHS)
        assert scrolled <= seen, width
    lowest, text = browser.evaluate(CONTRASTS)
    assert lowest >= 4.5, text
    background = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 22, 26)")
    check_quiet(browser, path)
