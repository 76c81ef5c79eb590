"""`kseg.data.convert`: whole or not at all, never over what is there; names, classes, orientation."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kseg.data import convert, from_directory
from kseg.data.annotations import writing
from kseg.data.mask_files import read_mask
from kseg.data.reading import read_image


def entry(number, name, size=(6, 8)):
    return {"id": number, "file_name": name, "height": size[0], "width": size[1]}


def outline(picture, category=1, points=(1, 1, 4, 1, 4, 3, 1, 3), **words):
    return {"image_id": picture, "category_id": category, "segmentation": [list(points)], **words}


@pytest.fixture
def source(tmp_path):
    """A function that writes COCO for pictures of these names, an object in each, and returns the file."""

    def make(names=("a.png", "b.png"), objects=None, categories=("cat",), folder="s"):
        root = tmp_path / folder
        for index, name in enumerate(names):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(index).integers(0, 256, (6, 8, 3), "uint8")
            Image.fromarray(pixels).save(root / name)
        content = {
            "images": [entry(number, name) for number, name in enumerate(names)],
            "annotations": [outline(number) for number in range(len(names))] if objects is None else objects,
            "categories": [{"id": number, "name": name} for number, name in enumerate(categories, start=1)],
        }
        (root / "coco.json").write_text(json.dumps(content))
        return root / "coco.json"

    return make


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_read_by_from_directory(source, tmp_path):
    seen = []
    report = convert(source(), tmp_path / "o", "coco", progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 2), (2, 2)] and report.problems == []
    dataset = from_directory(tmp_path / "o", "train", batch_size=2, shuffle=False)
    assert dataset.class_names == ["background", "cat"]
    ((images, masks),) = dataset
    np.testing.assert_array_equal(images[0], read_image(tmp_path / "s/a.png"))
    assert masks.numpy().sum() == 12


def test_a_dry_run_counts_alike_and_writes_nothing(source, tmp_path):
    path = source()
    before = tree(tmp_path)
    dry = convert(path, tmp_path / "o", "coco", dry_run=True)
    assert tree(tmp_path) == before and not (tmp_path / "o").exists()
    assert str(dry) == str(convert(path, tmp_path / "o", "coco"))


def test_a_dry_run_lists_every_problem_and_a_run_names_the_first(source, tmp_path):
    path = source(("a.png", "b.png", "c.png"))
    (path.parent / "a.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 7)).save(path.parent / "b.png")
    (path.parent / "c.png").unlink()
    report = convert(path, tmp_path / "o", "coco", dry_run=True, skip_missing=True)
    assert len(report.problems) == 2 and report.notes == {"pictures that are not there, left out": 1}
    assert "a.png" in report.problems[0] and "8×7" in report.problems[1]
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=r"a.png.*\(and 1 more problem"):
        convert(path, tmp_path / "o", "coco", skip_missing=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("taken", ["train/images/x.png", "train/x", "images/x", "masks/x"])
def test_nothing_is_written_over(source, tmp_path, taken):
    path = source()
    (tmp_path / "o" / taken).parent.mkdir(parents=True)
    (tmp_path / "o" / taken).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="is there already"):
        convert(path, tmp_path / "o", "coco")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        convert(path, tmp_path / "file", "coco")
    (tmp_path / "file").unlink()
    assert tree(tmp_path) == before


def test_what_comes_to_stand_there_meanwhile_stays(source, tmp_path):
    def meanwhile(done, total):
        (tmp_path / "o/train").mkdir(parents=True, exist_ok=True)
        (tmp_path / "o/train/mine").write_text("mine")

    with pytest.raises(FileExistsError, match="is there already"):
        convert(source(), tmp_path / "o", "coco", progress=meanwhile)
    assert tree(tmp_path / "o") == {Path("train/mine"): b"mine"}
    assert not list(tmp_path.glob(".*"))


def test_splits_come_one_after_the_other_with_the_same_classes(source, tmp_path):
    path = source()
    (tmp_path / "o").mkdir()
    (tmp_path / "o/notes.md").write_text("mine")
    convert(path, tmp_path / "o", "coco", split="train")
    convert(path, tmp_path / "o", "coco", split="valid")
    assert {file.name for file in (tmp_path / "o").iterdir()} == {"notes.md", "train", "val", "classes.txt"}
    other = source(categories=("dog", "cat"), folder="other")
    with pytest.raises(ValueError, match=r"lists other classes \(background, cat\) .* class_names="):
        convert(other, tmp_path / "o", "coco", split="test")
    assert not (tmp_path / "o/test").exists()


@pytest.mark.parametrize("failing", [0, 1])
def test_a_full_disk_leaves_nothing(source, tmp_path, monkeypatch, failing):
    calls = []

    def copyfile(*paths):
        calls.append(paths)
        if len(calls) > failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return shutil.copy(*paths)

    path = source()
    before = tree(tmp_path)
    monkeypatch.setattr(writing.shutil, "copyfile", copyfile)
    with pytest.raises(OSError, match="are free"):
        convert(path, tmp_path / "o", "coco")
    assert tree(tmp_path) == before and not (tmp_path / "o").exists()


def test_splits_that_were_renamed_are_taken_back_if_another_cannot_be(tmp_path, monkeypatch):
    for split in ("train", "val"):
        (tmp_path / "made" / split).mkdir(parents=True)
    rename = Path.rename

    def fail(self, target):
        if self.parent.name == "made" and self.name == "val":
            raise OSError(errno.EIO, "cannot")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="cannot"):
        writing.put_in_place(tmp_path / "made", tmp_path / "o", ["train", "val"], ["a"])
    assert not (tmp_path / "o").exists() and (tmp_path / "made/train").is_dir()


@pytest.mark.parametrize("kind", ["displayed", "stored"])
@pytest.mark.parametrize("exif", range(1, 9))
def test_masks_are_turned_as_the_picture_is_displayed(tmp_path, exif, kind):
    """A picture whose red part was outlined as displayed, or as stored; its size tells, where it can."""
    stored = np.zeros((6, 8, 3), "uint8")
    stored[1:3, 1:5] = 255, 0, 0
    tags = Image.Exif()
    tags[274] = exif
    (tmp_path / "s").mkdir()
    Image.fromarray(stored).save(tmp_path / "s/a.png", exif=tags)
    displayed = read_image(tmp_path / "s/a.png")
    frame = displayed if kind == "displayed" else stored
    rows, columns = np.flatnonzero(frame[..., 0].any(1)), np.flatnonzero(frame[..., 0].any(0))
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    points = [int(v) for v in (left, top, right, top, right, bottom, left, bottom)]
    content = {
        "images": [entry(0, "a.png", frame.shape[:2])],
        "annotations": [outline(0, points=points)],
        "categories": [{"id": 1, "name": "red"}],
    }
    (tmp_path / "s/coco.json").write_text(json.dumps(content))
    told = exif >= 5 or exif == 1 or kind == "displayed"
    report = convert(tmp_path / "s/coco.json", tmp_path / "o", "coco", orientation=None if told else kind)
    np.testing.assert_array_equal(read_mask(tmp_path / "o/train/masks/a.png"), displayed[..., 0] // 255)
    ambiguous = 2 <= exif <= 4 and kind == "displayed"
    assert any("do not tell" in note for note in report.notes) == ambiguous
    if exif >= 5:
        other = {"displayed": "stored", "stored": "displayed"}[kind]
        with pytest.raises(ValueError, match=r"a\.png has 6×8 pixels as displayed"):
            convert(tmp_path / "s/coco.json", tmp_path / "p", "coco", orientation=other)


def test_pictures_of_one_name_get_names_of_their_own(source, tmp_path):
    names = ("x/1.png", "y/1.png", "x/2.png", "3.png", "3.bmp", "D.png", "d.bmp", "../s/z/4.png")
    convert(source(names), tmp_path / "o", "coco")
    images = {path.name for path in (tmp_path / "o/train/images").iterdir()}
    masks = {path.name for path in (tmp_path / "o/train/masks").iterdir()}
    assert images == {
        "x__1.png",
        "y__1.png",
        "2.png",
        "3_png.png",
        "3_bmp.bmp",
        "D_png.png",
        "d_bmp.bmp",
        "4.png",
    }
    assert {Path(name).stem for name in masks} == {Path(name).stem for name in images}
    assert len(from_directory(tmp_path / "o", "train", class_names=["a", "b"]).image_paths) == len(names)


@pytest.mark.parametrize("name", ["a [1].png", "bär.png", "a.b.c.png", "*.png", " a.png"])
def test_names_keep_their_characters(source, tmp_path, name):
    convert(source((name,)), tmp_path / "o", "coco")
    assert [path.name for path in (tmp_path / "o/train/images").iterdir()] == [name]


def test_names_in_other_characters_are_found(source, tmp_path):
    path = source(("ba\u0308r.png",))  # as a Mac writes it
    path.write_text(path.read_text().replace("ba\\u0308r", "b\\u00e4r"))
    assert convert(path, tmp_path / "o", "coco").pictures == {"train": 1}


def mask_of(output):
    return np.asarray(Image.open(output / "train/masks/a.png"))


def test_background_is_a_class_or_void(source, tmp_path):
    path = source(("a.png",), [outline(0, 2)], ("sky", "cat"))
    assert convert(path, tmp_path / "1", "coco", background="rest").class_names == ["rest", "sky", "cat"]
    assert np.unique(mask_of(tmp_path / "1")).tolist() == [0, 2]
    report = convert(path, tmp_path / "2", "coco", background=None)
    assert report.class_names == ["sky", "cat"] and report.void == {"train": 42}
    assert np.unique(mask_of(tmp_path / "2")).tolist() == [1, 255]
    assert convert(path, tmp_path / "3", "coco", background="cat").class_names == ["cat", "sky"]
    assert np.unique(mask_of(tmp_path / "3")).tolist() == [0]


def test_class_names_give_the_order(source, tmp_path):
    path = source(("a.png",), [outline(0, 2)], ("sky", "cat"))
    report = convert(path, tmp_path / "1", "coco", class_names=["cat", "sky", "background"])
    assert report.class_names == ["cat", "sky", "background"]
    assert np.unique(mask_of(tmp_path / "1")).tolist() == [0, 2]
    report = convert(path, tmp_path / "2", "coco", class_names=["cat"])  # no object is of the other
    assert report.class_names == ["background", "cat"]
    with pytest.raises(ValueError, match="unknown class 'cat'; did you mean 'cats'"):
        convert(path, tmp_path / "3", "coco", class_names=["cats", "sky"])


def test_names_that_classes_cannot_have_are_refused(source, tmp_path):
    for categories in (("a", ""), ("a\nb",)):
        with pytest.raises(ValueError, match="class name"):
            convert(source(categories=categories), tmp_path / "o", "coco")
    many = source(("a.png",), [], [f"c{number}" for number in range(255)])
    with pytest.raises(ValueError, match="256 classes"):
        convert(many, tmp_path / "o", "coco")
    assert len(convert(many, tmp_path / "o", "coco", background=None).class_names) == 255
    twice = source(("a.png",), [outline(0, 2)], ("cat", "cat", "dog"), folder="twice")
    report = convert(twice, tmp_path / "p", "coco")
    assert report.class_names == ["background", "cat", "dog"]
    assert report.notes == {"categories of a name that stands twice, made one class": 1}


def test_pictures_without_objects_are_told(source, tmp_path):
    path = source(objects=[outline(0)])
    report = convert(path, tmp_path / "1", "coco")
    assert report.pictures == {"train": 2}
    assert report.notes == {"pictures without objects, all background": 1}
    report = convert(path, tmp_path / "2", "coco", empty="skip")
    assert report.pictures == {"train": 1} and report.notes == {"pictures without objects, left out": 1}
    content = json.loads(path.read_text())
    del content["annotations"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no picture is left to convert; 1 files without annotations"):
        convert(path, tmp_path / "3", "coco")


def test_missing_things_are_named(source, tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
        convert(tmp_path / "none", tmp_path / "o", "coco")
    for format in ("coco", "cvat", "labelme", "yolo"):
        with pytest.raises(FileNotFoundError, match=str(tmp_path)):
            convert(tmp_path, tmp_path / "o", format)
    with pytest.raises(ValueError, match="unknown format 'coko'; did you mean 'coco'"):
        convert(tmp_path, tmp_path / "o", "coko")


def test_pictures_may_lie_elsewhere(source, tmp_path):
    path = source()
    (tmp_path / "p").mkdir()
    for name in ("a.png", "b.png"):
        (path.parent / name).rename(tmp_path / "p" / name)
    with pytest.raises(ValueError, match=r"2 of 2 pictures are not there .* image_folder="):
        convert(path, tmp_path / "o", "coco")
    assert convert(path, tmp_path / "o", "coco", image_folder=tmp_path / "p").pictures == {"train": 2}


def test_the_library_that_is_missing_is_named(source, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    with pytest.raises(ImportError, match=r"pip install 'kseg\[annotations\]'"):
        convert(source(), tmp_path / "o", "coco")


def test_a_link_to_a_folder_is_followed(source, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "o").symlink_to(tmp_path / "elsewhere")
    convert(source(), tmp_path / "o", "coco")
    assert (tmp_path / "elsewhere/train/masks/a.png").is_file() and (tmp_path / "o").is_symlink()
