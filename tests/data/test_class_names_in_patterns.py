"""Names in the place of `{class}` as people have them: blanks and underscores, the background, one folder."""

import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kseg.data import check, from_directory

SIZE = (6, 8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(root, pictures, masks, names, classes, seed=0):
    """Write pictures and a random mask per class; return stem → ids, later classes above."""
    rng, expected = np.random.default_rng(seed), {}
    for stem in names:
        write(root / pictures.format(stem=stem), rng.integers(0, 256, (*SIZE, 3), "uint8"))
        ids = np.zeros(SIZE, int)
        for number, name in enumerate(classes, 1):
            marks = rng.random(SIZE) < 0.4
            write(root / masks.format(stem=stem, name=name), (marks * 255).astype("uint8"))
            ids[marks] = number
        expected[str(root / pictures.format(stem=stem))] = ids
    return expected


def assert_reads(root, expected, names, **options):
    """Assert that both splits together are what was written."""
    seen = {}
    for split in ("train", "val"):
        data = from_directory(root, split, batch_size=None, shuffle=False, **options)
        assert data.class_names == names
        for path, (_, mask) in zip(data.image_paths, data.as_numpy_iterator(), strict=True):
            np.testing.assert_array_equal(mask, expected[path])
            seen[path] = mask
    assert seen.keys() == expected.keys()
    assert check(root, **options).problems == []


FACE = ["brow", "hair", "l_brow", "r_brow", "upper lip"]


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("img/{stem}.jpg", "parts/{stem}_{name}.png"),
        ("all/{stem}.png", "all/{stem}_{name}.png"),
        ("all/{stem}_image.png", "all/{stem}_{name}.png"),
        ("img/{stem}.jpg", "parts/{name}_{stem}.png"),
        ("img/{stem}.jpg", "parts/{name}/{stem}.png"),
        ("img/{stem}.jpg", "parts/{stem}/{name}.png"),
        ("{stem}/image.png", "{stem}/{name}.png"),
    ],
)
def test_a_name_may_hold_what_stands_beside_it(tmp_path, pictures, masks, named):
    stems = ["0", "0_1", "7", "a b"]
    if not named and pictures == "all/{stem}.png":
        stems.remove("0_1")  # which may as well be class 1 of picture 0
    expected = make(tmp_path, pictures, masks, stems, FACE)
    names = ["skin" if named else "background", *FACE]
    options = {"class_names": names} if named else {}
    patterns = {"images": pictures.format(stem="*"), "masks": masks.format(stem="*", name="{class}")}
    assert_reads(tmp_path, expected, names, **patterns, **options)


WORDS = st.lists(st.text("ab_", min_size=1, max_size=3), min_size=2, max_size=4, unique=True)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(stems=WORDS, classes=WORDS)
def test_any_names_with_a_sign_between_them_are_told_apart(tmp_path_factory, stems, classes):
    root = tmp_path_factory.mktemp("classes")
    classes = sorted(classes)
    expected = make(root, "img/{stem}.bmp", "gt/{stem}-{name}.bmp", stems, classes)
    assert_reads(root, expected, ["background", *classes], images="img/*.bmp", masks="gt/*-{class}.bmp")
    shutil.rmtree(root)


@pytest.mark.parametrize("named", [False, True])
def test_files_of_the_background_mark_what_no_other_does(tmp_path, named):
    expected = make(tmp_path, "img/{stem}.jpg", "gt/{name}/{stem}.png", "abcde", ["cat", "dog"])
    for path, ids in expected.items():
        stem = path.rpartition("/")[2][0]
        write(tmp_path / f"gt/background/{stem}.png", ((ids == 0) * 255).astype("uint8"))
    names = ["background", "cat", "dog"]
    options = {"class_names": names} if named else {}
    assert_reads(tmp_path, expected, names, images="img/*.jpg", masks="gt/{class}/*.png", **options)


def test_an_order_may_be_stated_and_a_class_have_no_file(tmp_path):
    make(tmp_path, "img/{stem}.jpg", "gt/{name}/{stem}.png", "abcde", ["cat", "dog"])
    names = ["rest", "dog", "mouse", "cat"]
    options = {"images": "img/*.jpg", "masks": "gt/{class}/*.png", "class_names": names}
    data = from_directory(tmp_path, "train", batch_size=None, shuffle=False, **options)
    for path, files, (_, mask) in zip(data.image_paths, data.mask_paths, data, strict=True):
        stem = path.rpartition("/")[2][0]
        dog, cat = (np.asarray(Image.open(tmp_path / f"gt/{n}/{stem}.png")) > 0 for n in ("dog", "cat"))
        np.testing.assert_array_equal(mask, np.where(cat, 3, np.where(dog, 1, 0)))
        assert files == (str(tmp_path / f"gt/dog/{stem}.png"), None, str(tmp_path / f"gt/cat/{stem}.png"))


@pytest.mark.parametrize("names", [None, ["road", "crack", "lane"], ["road", "lane", "crack"]])
def test_what_lies_below_by_the_alphabet_alone_is_told(tmp_path, names):
    hidden, total = 0, 0
    for stem in "abcde":
        rng = np.random.default_rng(ord(stem))
        write(tmp_path / f"img/{stem}.jpg", rng.integers(0, 256, (*SIZE, 3), "uint8"))
        crack, lane = rng.random((2, *SIZE)) < 0.4
        write(tmp_path / f"gt/crack/{stem}.png", (crack * 255).astype("uint8"))
        write(tmp_path / f"gt/lane/{stem}.png", (lane * 255).astype("uint8"))
        hidden, total = hidden + (crack & lane).sum(), total + crack.sum()
    report = check(tmp_path, images="img/*.jpg", masks="gt/{class}/*.png", class_names=names)
    told = [line for line in report.warnings if "overlap" in line]
    assert len(told) == (names is None)
    for line in told:
        share = f"'lane' hides {hidden} of the {total} pixels of 'crack'"
        assert share in line and line.endswith("by class_names=") and "'crack' hides" not in line


def test_files_that_do_not_overlap_need_no_order(tmp_path):
    for number, stem in enumerate("abc"):
        write(tmp_path / f"img/{stem}.jpg", np.full((*SIZE, 3), 80 * number, "uint8"))
        for name, half in (("cat", np.s_[:3]), ("dog", np.s_[3:5])):
            marks = np.zeros(SIZE, "uint8")
            marks[half] = 255
            write(tmp_path / f"gt/{name}/{stem}.png", marks)
    assert check(tmp_path, images="img/*.jpg", masks="gt/{class}/*.png").warnings == []


def test_a_class_without_a_name_is_named_and_the_check_goes_on(tmp_path):
    make(tmp_path, "img/{stem}.jpg", "gt/{name}/{stem}.png", "abcde", ["cat", "dog"])
    options = {"images": "img/*.jpg", "masks": "gt/{class}/*.png", "class_names": ["rest", "cat"]}
    with pytest.raises(ValueError, match=r"gt/dog/.\.png: is a mask of none of the classes \['cat'\]"):
        from_directory(tmp_path, **options)
    report = check(tmp_path, **options)
    assert sum(report.pairs.values()) == 5
    assert len([line for line in report.problems if "none of the classes" in line]) == 5
    assert all("dog" in line for line in report.problems)


def test_masks_without_pictures_name_no_class(tmp_path):
    make(tmp_path, "img/{stem}.jpg", "gt/{stem}_{name}.png", "abcde", ["cat"])
    write(tmp_path / "gt/z_dog.png", np.zeros(SIZE, "uint8"))
    report = check(tmp_path, images="img/*.jpg", masks="gt/*_{class}.png")
    assert report.class_names == ["background", "cat"]
    (problem,) = report.problems
    assert "masks without a picture" in problem and "z_dog.png" in problem


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"masks": "gt/*_{class}.png", "colors": {"cat": (1, 2, 3)}}, "leave out colors="),
        ({"masks": "gt/{class}/**"}, "must end in a name"),
        ({"images": "img/{class}/*.jpg", "masks": "gt/*.png"}, r"\{class\} stands once, in masks"),
        ({"masks": "gt/{class}_{class}_*.png"}, r"\{class\} stands once, in masks"),
    ],
)
def test_patterns_that_cannot_be_are_refused_at_once(tmp_path, options, words):
    make(tmp_path, "img/{stem}.jpg", "gt/{stem}_{name}.png", "ab", ["cat"])
    with pytest.raises(ValueError, match=words):
        from_directory(tmp_path, **{"images": "img/*.jpg", **options})


def test_two_files_of_one_class_are_named(tmp_path):
    make(tmp_path, "img/{stem}.jpg", "gt/{stem}_{name}.png", "ab", ["cat"])
    write(tmp_path / "gt/a_cat.bmp", np.zeros(SIZE, "uint8"))
    with pytest.raises(ValueError, match=re.escape("a_cat.png: a_cat.bmp has the same stem")):
        from_directory(tmp_path, images="img/*.jpg", masks="gt/*_{class}.*")
