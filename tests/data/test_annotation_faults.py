"""Annotations that are wrong are named, and nothing is written."""

import pytest
from annotation_files import CVAT, LABELME_XML, RUNS, YOLO, coco, png, shapes, write

from kseg.data import convert

FAULTS = [
    ("coco", "{", "cannot be read as JSON"),
    ("coco", "[" * 100_000, "nested too deeply"),
    ("coco", "[]", "is no COCO file"),
    ("coco", coco(categories=()), "has no categories"),
    ("coco", coco([{"category_id": 9}]), "annotation 0: category_id 9 is not among the categories"),
    ("coco", coco([{"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}]), "x and y in turns, got 7 numbers"),
    ("coco", coco([{"segmentation": [["x"] * 6]}]), "annotation 0: could not convert"),
    ("coco", coco([{"segmentation": {"size": [6, 8]}}]), "annotation 0: has no 'counts'"),
    ("coco", coco([{"segmentation": RUNS | {"counts": [1]}}]), "run lengths do not fill the 8×6 pixels"),
    (
        "coco",
        coco([{"segmentation": RUNS | {"size": [8, 6]}}]),
        "run lengths of 6×8 pixels for a picture of 8×6",
    ),
    (
        "coco",
        coco([], images=[{"id": 1, "file_name": "a.png", "width": 9, "height": 6}]),
        "has 8×6 pixels .* of 9×6",
    ),
    (
        "coco",
        coco([], images=[{"id": 1, "file_name": "b.png"}]),
        r"1 of 1 pictures are not there \(.*b.png\)",
    ),
    ("coco", coco([], images=2 * [{"id": 1, "file_name": "a.png"}]), "image 1: id 1 is that of a.png too"),
    ("coco", coco([], images=[{"id": 1}]), "image 0: has no 'file_name'"),
    ("labelme", "{", "cannot be read as JSON"),
    ("labelme", shapes({"label": "c"}), "shape 0: has no 'points'"),
    (
        "labelme",
        shapes({"label": "c", "points": [[0, 0], [2, 2]], "shape_type": "mask", "mask": "AAAA"}),
        "shape 0",
    ),
    ("labelme", shapes(imageWidth=9), "has 8×6 pixels"),
    (
        "labelme xml",
        LABELME_XML.format(outline="<segm><mask>no.png</mask></segm>"),
        "object 1: the mask no.png is not there",
    ),
    (
        "labelme xml",
        LABELME_XML.format(outline="<segm><mask>m.png</mask></segm>"),
        "mask m.png has 5×6 pixels",
    ),
    (
        "labelme xml",
        LABELME_XML.format(outline="<polygon><pt><x>1</x></pt></polygon>"),
        "object 1: could not",
    ),
    ("labelme xml", "<annotation>", "cannot be read as XML"),
    ("cvat", "<annotations>", "cannot be read as XML"),
    ("cvat", "<a/>", "is no export as"),
    ("cvat", "<annotations><track/></annotations>", "is no export as"),
    ("cvat", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "defines entities"),
    (
        "cvat",
        CVAT.format(subset="", shapes='<box label="x" xtl="1" ytl="1" xbr="4" ybr="3"/>'),
        "box 'x': is a label",
    ),
    ("cvat", CVAT.format(subset="", shapes='<box label="cat" xtl="1"/>'), "box 'cat': has no 'ytl'"),
    (
        "cvat",
        CVAT.format(subset="", shapes='<mask label="cat" rle="5" left="0" top="0" width="2" height="2"/>'),
        "fill",
    ),
]


@pytest.mark.parametrize(("format", "content", "message"), FAULTS)
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path, format, content, message):
    png(tmp_path / "s/a.png")
    png(tmp_path / "s/Masks/m.png", (6, 5))
    format, _, suffix = format.partition(" ")
    path = write(tmp_path / "s" / ("annotations.xml" if suffix or format == "cvat" else "a.json"), content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message) as error:
        convert(path, tmp_path / "o", format)
    assert path.name in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5 0 0 1 0 1 1", "a.txt:2: class 5 is not within 0..1"),
        ("0 0 0 1 0 1", "a.txt:2: a polygon is x and y in turns"),
        ("0 0 0 480 0 480 360", "a.txt:2: holds numbers outside 0–1"),
        ("0 0 0 nan 0 1 1", "a.txt:2: holds numbers outside 0–1"),
        ("cat 0 0 1 0 1 1", "a.txt:2: could not convert"),
        ("0", "a.txt:2: has a class and no points"),
    ],
)
def test_wrong_lines_of_yolo_are_named(tmp_path, line, message):
    png(tmp_path / "train/images/a.png")
    write(tmp_path / "data.yaml", "train: train/images\nnames: [dog, cat]")
    write(tmp_path / "train/labels/a.txt", YOLO + line)
    with pytest.raises(ValueError, match=message):
        convert(tmp_path, tmp_path / "o", "yolo")
    assert (
        convert(tmp_path, tmp_path / "o", "yolo", dry_run=True).problems[0].split(": ")[0].endswith("a.txt:2")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]", "no pictures found"),
        ("train: x", "has no names"),
        ("names: {0: a, 2: b}\ntrain: x", "numbered from 0"),
        ("names: [a, a]\ntrain: x", "stands twice"),
        ("names: !!python/object/apply:os.getcwd []", "cannot be read as YAML"),
        ("names: [", "cannot be read as YAML"),
    ],
)
def test_a_wrong_data_yaml_is_named(tmp_path, text, message):
    write(tmp_path / "data.yaml", text)
    with pytest.raises((ValueError, FileNotFoundError), match=f"data.yaml: .*{message}"):
        convert(tmp_path, tmp_path / "o", "yolo")
