"""The HTML of the page of an evaluation."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hostile import FILES, NAMES, arguments, by_brightness
from PIL import Image

import kseg
from kseg.evaluation import Evaluation, write_report
from kseg.evaluation.report import report_html

VOID_TAGS = {"meta", "link", "img", "input", "br"}


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
