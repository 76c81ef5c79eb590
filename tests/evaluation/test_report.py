"""The page of an evaluation: its HTML, and the page in headless Chromium."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from browser import Browser
from PIL import Image

import kseg
from kseg.evaluation import Evaluation, write_report
from kseg.evaluation.report import report_html

NAMES = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "</script><script>window.hacked = 1</script>",
    "{{ 7 * 7 }} {% for x in y %}",
    "\u202eא & &amp; ב",
    "' onfocus='window.hacked = 1' autofocus='",
]
FILES = [
    '"><img src=x onerror=window.hacked=1>.png',
    "<b>{{7*7}}<!--.png",
    "two\nlines.png",
    "\u202egnp.exe.png",
    "javascript:window.hacked=1.png",
]
VOID_TAGS = {"meta", "link", "img", "input", "br"}


def by_brightness(classes):
    """Return a model that sorts each pixel by its brightness."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(classes, 1)
    model = keras.Model(image, conv(image), name="by_brightness")
    centres = (np.arange(classes) + 0.5) / classes
    kernel = np.tile(2 * centres / 3 / 255 * 40, (3, 1)).reshape(1, 1, 3, classes)
    conv.set_weights([kernel, -(centres**2) * 40])
    return model


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """An evaluation of files and classes with names that try to be markup."""
    root, rng = tmp_path_factory.mktemp("hostile"), np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
    for name in FILES:
        mask = rng.integers(0, 5, (4, 5)).repeat(12, 0).repeat(12, 1)  # none of the last class
        noise = rng.normal(0, 18, mask.shape)
        image = np.clip((mask + 0.5) / 6 * 255 + noise, 0, 255).astype("uint8")
        mask[0] = 255
        Image.fromarray(np.repeat(image[..., None], 3, -1)).save(root / "val" / "images" / name)
        Image.fromarray(mask.astype("uint8")).save(root / "val" / "masks" / name)
    data = kseg.data.from_directory(root, "val", class_names=NAMES, batch_size=1)
    return kseg.evaluate(by_brightness(6), data, samples=9)


class Page(HTMLParser):
    """The elements of a page: tags, attributes, texts in `bdi`, and whether they are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.names, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID_TAGS:
            self.open.append(tag)
        if tag == "bdi":
            self.names.append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID_TAGS:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "bdi":
            self.names[-1] += data


def arguments(hostile):
    return {'<img src="//evil.example/x">': hostile}, {"data_root": "</title><script>", "command": "<b>"}


def test_names_are_text_and_nothing_else(hostile):
    evaluations, others = arguments(hostile)
    page = Page(report_html(evaluations, **others))
    assert page.open == []
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert {*NAMES, *FILES, *evaluations, *others.values()} <= set(page.names)
    assert "b" not in page.tags and page.tags.count("img") == 5 * 4
    for tag, name, value in page.attributes:
        assert not name.startswith("on") and name not in ("style", "autofocus"), (tag, name)
        assert name not in ("src", "href") or value.startswith(("data:", "#")), (tag, value)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    pointed = [value for _, name, value in page.attributes if name in ("aria-labelledby", "aria-describedby")]
    assert set(pointed) <= set(ids)


def test_the_policy_of_the_page_allows_its_own_script_and_style_alone(hostile):
    text = report_html({"m": hostile})
    page = Page(text)
    (policy,) = [v for _, name, v in page.attributes if name == "content" and v.startswith("default-src")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for tag in ("script", "style"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"


def decoded(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",", 1)[1])))).astype(int)


def test_the_pictures_of_a_page_are_the_samples(hostile):
    page = Page(report_html({"m": hostile}))
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    samples = [*hostile.worst, *hostile.best]
    assert len(samples) == 5
    for index, sample in enumerate(samples):
        picture, truth, prediction, confidence = map(decoded, sources[4 * index : 4 * index + 4])
        assert np.abs(picture - sample.picture).mean() < 6  # JPEG
        for shown, ids in ((truth, sample.true), (prediction, sample.predicted)):
            np.testing.assert_array_equal(shown[..., 0] + 256 * shown[..., 1] - 1, ids)
            np.testing.assert_array_equal(shown[..., 2] == 255, sample.wrong)
        assert np.abs(confidence / 255 - sample.confidence).mean() < 0.05


def test_ids_above_255_stay_what_they_are():
    from kseg.evaluation.report.pictures import ids_png

    ids = np.array([[-1, 0, 254, 255, 256, 40_000]])
    shown = decoded(ids_png(ids, ids > 254))
    np.testing.assert_array_equal(shown[..., 0] + 256 * shown[..., 1] - 1, ids)


def test_a_class_that_no_picture_has_and_what_is_not_there_is_said(hostile):
    text = report_html({"m": hostile})
    assert "Without a pixel in the truth" in text and "Confusion matrix" in text
    bare = report_html({"m": Evaluation(np.array([[3, 1], [0, 0]]), ["a", "b"])})
    assert "there is no calibration" in bare and "Worst pictures" not in bare and "n/a" in bare
    assert "75" in bare and re.search(r"\bnan\b", bare, re.IGNORECASE) is None


def test_many_classes_have_a_list_of_confusions():
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 100, (60, 60))
    matrix[7, 9] = 5000
    names = [f"class {number}" for number in range(60)]
    text = report_html({"m": Evaluation(matrix, names)})
    assert "Confusion matrix" not in text
    row = '<tr data-class="7"><th scope="row"><bdi>class 7</bdi></th><td><bdi>class 9</bdi>'
    first = text.find(row) == text.find('<tr data-class="', text.index("Largest confusions"))
    assert first and "5,000" in text and len(text) < 300_000


def test_labels_have_a_page_too():
    model = kseg.compile(kseg.build_conv_stack(2, depth=1, filters=2), multilabel=True)
    rng = np.random.default_rng(0)
    masks = rng.choice([0, 1, 255], (2, 20, 30, 2))
    images = rng.integers(0, 256, (2, 20, 30, 3)).astype("uint8")
    text = report_html({"m": kseg.evaluate(model, [(images, masks)], samples=3)})
    assert "no confusion matrix" in text and "Expected calibration error" in text
    assert Page(text).tags.count("figure") == 2


def test_the_page_stays_small(tmp_path):
    """Large pictures are shrunk, and of many only nine are kept."""
    scenes = list(kseg.data.shapes(2, (64, 96), batch_size=1))
    pairs = [
        (np.asarray(image).repeat(16, 1).repeat(16, 2), np.asarray(mask).repeat(16, 1).repeat(16, 2))
        for image, mask in scenes
    ]
    result = kseg.evaluate(by_brightness(6), pairs * 6, samples=9, boundaries=False)
    write_report(tmp_path / "r.html", {"m": result})
    assert 100_000 < (tmp_path / "r.html").stat().st_size < 3_000_000
    assert Page((tmp_path / "r.html").read_text(encoding="utf-8")).tags.count("figure") == 9


def test_a_report_is_written_over_no_file_unasked(hostile, tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, {"m": hostile}, title="My title")
    with pytest.raises(FileExistsError, match="exists already"):
        write_report(path, {"m": hostile})
    write_report(path, {"m": hostile}, overwrite=True)
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    with pytest.raises(ValueError, match="evaluations is empty"):
        write_report(tmp_path / "other", {})


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


@pytest.mark.filterwarnings("ignore:.*neither a class nor void")
def test_void_alone_and_ids_that_are_no_class_have_a_page(tmp_path):
    image = np.zeros((1, 9, 12, 3), "uint8")
    void = [(image, np.full((1, 9, 12), 255))] * 2
    result = kseg.evaluate(by_brightness(3), void, samples=3)
    assert result.calibration is None and np.isnan(result.mean_iou) and len(result.absent) == 3
    assert Page(report_html({"m": result})).open == [] and "n/a" in str(result)
    assert result.as_dict()["intervals"]["mean_iou"] == [None, None]
    outside = kseg.evaluate(by_brightness(3), [(image, np.full((1, 9, 12), 7))] * 2, samples=3)
    text = report_html({"m": outside})
    assert "216 pixels outside the classes are not counted" in text and Page(text).open == []
