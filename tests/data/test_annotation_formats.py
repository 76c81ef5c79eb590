"""Each format, written small from its description, and real files of others."""

import base64
import io

import numpy as np
import pytest
from annotation_files import CVAT, LABELME_XML, RUNS, SQUARE, YOLO, coco, mask_of, png, shapes, square, write
from PIL import Image

from kseg.data import convert


@pytest.mark.parametrize(
    "outline",
    [
        [SQUARE],
        SQUARE,
        np.reshape(SQUARE, (-1, 2)).tolist(),
        RUNS,
        [[1, 1, 2, 1, 2, 3, 1, 3], [2, 1, 4, 1, 4, 3, 2, 3]],
    ],
    ids=["polygon", "flat", "pairs", "runs", "parts"],
)
def test_outlines_of_coco(tmp_path, outline):
    png(tmp_path / "a.png")
    report = convert(write(tmp_path / "c.json", coco([{"segmentation": outline}])), tmp_path / "o", "coco")
    assert report.class_names == ["background", "cat", "dog"]  # in the order of the file, not of the numbers
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square())
    assert report.pixels["train"].tolist() == [42, 6, 0] and report.void == {"train": 0}
    assert (tmp_path / "o/classes.txt").read_text() == "background\ncat\ndog\n"
    assert (tmp_path / "o/train/images/a.png").read_bytes() == (tmp_path / "a.png").read_bytes()


@pytest.mark.parametrize(
    "picture",
    ["train2017/a.png", "images/train2017/a.png", "images/a.png", "images/train/a.png", "annotations/a.png"],
)
def test_folders_of_coco(tmp_path, picture):
    png(tmp_path / "s" / picture)
    write(tmp_path / "s/annotations/instances_train2017.json", coco([{"segmentation": [SQUARE]}]))
    write(tmp_path / "s/annotations/captions_train2017.json", {"images": []})
    convert(tmp_path / "s", tmp_path / "o", "coco")
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square())


def test_roboflow_coco_has_its_splits_and_no_class_of_its_gathering_category(tmp_path):
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}]
    categories += [{"id": 1, "name": "cat", "supercategory": "pets"}]
    for split in ("train", "valid"):
        png(tmp_path / "s" / split / "a.png")
        entry = {"segmentation": [SQUARE], "category_id": 1}
        write(tmp_path / "s" / split / "_annotations.coco.json", coco([entry], categories=categories))
    report = convert(tmp_path / "s", tmp_path / "o", "coco")
    assert report.class_names == ["background", "cat"] and report.pictures == {"train": 1, "val": 1}
    np.testing.assert_array_equal(mask_of(tmp_path / "o", split="val"), square())


def test_areas_of_coco_tell_where_its_points_lie(tmp_path):
    png(tmp_path / "a.png")
    contour = {"segmentation": [[1, 1, 3, 1, 3, 2, 1, 2]]}  # of the pixels in rows 1 and 2, columns 1 to 3
    for area, pixels in ((6, 6), (2, 2), (None, 2)):
        path = write(tmp_path / "c.json", coco(3 * [contour | {"area": area}]))
        report = convert(path, tmp_path / f"o{area}", "coco")
        assert mask_of(tmp_path / f"o{area}").sum() == pixels
        assert (area == 6) == any("points name pixels" in note for note in report.notes)
    convert(
        write(tmp_path / "c.json", coco(3 * [contour | {"area": 6}])),
        tmp_path / "g",
        "coco",
        polygon_points="grid",
    )
    assert mask_of(tmp_path / "g").sum() == 2


def encoded(picture):
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    "shape",
    [
        {"points": [[1, 1], [3, 1], [3, 2], [1, 2]]},
        {"points": [[1.9, 1.2], [3.4, 1.9], [3, 2], [1, 2.9]]},  # a point names the pixel that it is in
        {"points": [[3, 2], [1, 1]], "shape_type": "rectangle"},
        {
            "points": [[1, 1], [3, 2]],
            "shape_type": "mask",
            "mask": encoded(Image.fromarray(np.ones((2, 3), "uint8"))),
        },
    ],
    ids=["polygon", "floats", "rectangle", "mask"],
)
def test_shapes_of_labelme(tmp_path, shape):
    png(tmp_path / "s/a.png")
    write(tmp_path / "s/a.json", shapes({"label": "cat", **shape}))
    assert convert(tmp_path / "s", tmp_path / "o", "labelme").class_names == ["background", "cat"]
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square())


def test_labelme_counts_what_has_no_area_and_knows_its_own_labels(tmp_path):
    png(tmp_path / "s/a.png")
    png(tmp_path / "s/alone.png")
    write(tmp_path / "s/other.json", {"flags": []})
    whole = {"points": [[0, 0], [7, 5]], "shape_type": "rectangle"}
    line = {"points": [[0, 0], [7, 5]], "label": "cat"}
    items = [{"label": "__ignore__", **whole}, {"label": "cat", "points": [[1, 1], [3, 1], [3, 2], [1, 2]]}]
    items += [{"label": "_background_", "points": [[2, 2], [2, 2]], "shape_type": "rectangle"}]
    items += [{**line, "shape_type": kind} for kind in ("line", "line", "cube")]
    write(tmp_path / "s/a.json", shapes(*items))
    report = convert(tmp_path / "s", tmp_path / "o", "labelme")
    expected = square()
    expected[expected == 0] = 255
    expected[2, 2] = 0
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), expected)
    assert report.class_names == ["background", "cat"]
    assert dict(report.notes) == {
        "shapes of the kind 'line', which have no area, left out": 2,
        "shapes of the kind 'cube', which kseg does not know, left out": 1,
        "pictures without annotations, left out": 1,
        "JSON files that are not of labelme, passed over": 1,
    }


def test_labelme_circle(tmp_path):
    png(tmp_path / "s/a.png", (40, 50))
    circle = {"label": "c", "points": [[25, 20], [25, 32]], "shape_type": "circle"}
    write(tmp_path / "s/a.json", shapes(circle, imageHeight=40, imageWidth=50))
    convert(tmp_path / "s", tmp_path / "o", "labelme")
    assert mask_of(tmp_path / "o").sum() == pytest.approx(np.pi * 12.5**2, rel=0.03)  # with its border


def test_labelme_finds_its_picture(tmp_path):
    """Beside a Windows path, renamed, in the file itself; folders named as splits are splits."""
    item = {"label": "cat", "points": [[1, 1], [3, 1], [3, 2], [1, 2]]}
    png(tmp_path / "s/pictures/a.png")
    write(tmp_path / "s/train/a.json", shapes(item, imagePath="..\\pictures\\a.png"))
    png(tmp_path / "s/valid/b.png")
    write(tmp_path / "s/valid/b.json", shapes(item, imagePath="C:\\old\\name.jpg"))
    inside = png(tmp_path / "gone.png").read_bytes()
    text = base64.b64encode(inside).decode()
    write(tmp_path / "s/test/c.json", shapes(item, imagePath="c.png", imageData=text))
    report = convert(tmp_path / "s", tmp_path / "o", "labelme")
    assert report.pictures == {"train": 1, "val": 1, "test": 1}
    for split, stem in (("train", "a"), ("val", "name"), ("test", "c")):
        np.testing.assert_array_equal(mask_of(tmp_path / "o", stem, split), square())
    assert (tmp_path / "o/test/images/c.png").read_bytes() == inside


@pytest.mark.parametrize("kind", ["polygon", "mask"])
def test_xml_of_labelme(tmp_path, kind):
    places = [f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 1), (3, 1), (3, 2), (1, 2))]
    outline = f"<polygon><username>u</username>{''.join(places)}</polygon>"
    if kind == "mask":
        png(tmp_path / "s/Masks/f/m.png")
        Image.fromarray(square()[..., None] * np.array([0, 0, 1, 90], "uint8")).save(
            tmp_path / "s/Masks/f/m.png"
        )
        outline = "<segm><mask>m.png</mask></segm>"
    png(tmp_path / "s/Images/f/a.png")
    write(tmp_path / "s/Annotations/f/a.xml", LABELME_XML.format(outline=outline))
    report = convert(tmp_path / "s", tmp_path / "o", "labelme")
    assert report.class_names == ["background", "cat"]
    assert report.notes == {"objects that were deleted, left out": 1}
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square())


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("path: .\ntrain: images/train\nnames: {0: dog, 1: cat}", "images/train"),
        ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [dog, cat]", "train/images"),
        ("path: ../datasets/s\ntrain: images/train\nnames: [dog, cat]", "images/train"),
        ("path: /home/somebody/s\ntrain: [images/a, images/b]\nnames: [dog, cat]", "images/b"),
        ("train: lists/train.txt\nnames: [dog, cat]", "images/c"),
    ],
)
def test_yolo(tmp_path, text, folder):
    png(tmp_path / "s" / folder / "a.png")
    write(tmp_path / "s" / folder.replace("images", "labels") / "a.txt", YOLO)
    write(tmp_path / "s/lists/train.txt", "./images/c/a.png\n")
    write(tmp_path / "s/data.yaml", text)
    report = convert(tmp_path / "s", tmp_path / "o", "yolo")
    assert report.class_names == ["background", "dog", "cat"]
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square(2))


@pytest.mark.parametrize(
    "shape",
    [
        '<polygon label="cat" points="1.00,1.00;4.00,1.00;4.00,3.00;1.00,3.00" z_order="0"/>',
        '<box label="cat" xtl="1" ytl="1" xbr="4" ybr="3" z_order="0"/>',
        '<box label="cat" xtl="1.5" ytl="0.5" xbr="3.5" ybr="3.5" rotation="90" z_order="0"/>',
        '<mask label="cat" rle="0, 6" left="1" top="1" width="3" height="2" z_order="0"/>',
        '<mask label="cat" rle="1, 3, 1, 3" left="0" top="1" width="4" height="2" z_order="0"/>',
    ],
)
def test_shapes_of_cvat(tmp_path, shape):
    png(tmp_path / "s/images/deep/a.png")
    line = '<polyline label="cat" points="0,0;9,9"/><points label="dog" points="0,0"/><tag label="dog"/>'
    write(tmp_path / "s/annotations.xml", CVAT.format(subset="", shapes=shape + line))
    report = convert(tmp_path / "s", tmp_path / "o", "cvat")
    assert report.class_names == ["background", "dog", "cat"] and report.notes.total() == 3
    np.testing.assert_array_equal(mask_of(tmp_path / "o"), square(2))


def test_cvat_has_levels_and_subsets(tmp_path):
    png(tmp_path / "s/images/Validation/deep/a.png")
    box = '<box label="{}" xtl="1" ytl="1" xbr="4" ybr="3" z_order="{}"/>'
    text = CVAT.format(subset='subset="Validation"', shapes=box.format("cat", 2) + box.format("dog", 1))
    report = convert(write(tmp_path / "s/annotations.xml", text), tmp_path / "o", "cvat")
    assert report.pictures == {"val": 1}
    np.testing.assert_array_equal(mask_of(tmp_path / "o", split="val"), square(2))


NUCLEI = "formats/nuclei_in_every_format"
HOLES = 13  # pixels, at most, of holes that polygons do not hold


@pytest.mark.parametrize(
    ("format", "source"), [("coco", "coco.json"), ("labelme", "labelme"), ("yolo", "yolo")]
)
def test_nuclei_are_what_their_masks_are(tmp_path, shared_data, format, source):
    convert(shared_data / NUCLEI / source, tmp_path / "o", format, crowd="class")
    truths = sorted((shared_data / NUCLEI / "truth").glob("*.png"))
    assert len(truths) == 4
    for path in truths:
        truth = np.asarray(Image.open(path))
        assert (mask_of(tmp_path / "o", path.stem) != truth).sum() <= HOLES, path.name


def test_samples_of_datumaro(tmp_path, shared_data):
    samples = shared_data / "formats/datumaro"
    report = convert(samples / "coco_dataset/coco_instances", tmp_path / "i", "coco")
    assert report.class_names == ["background", "a", "b", "c"] and report.pictures == {"train": 1, "val": 1}
    mask = mask_of(tmp_path / "i", "b", "val")
    assert (mask == 1).sum() == 2  # the area that the file states
    assert (mask == 255).sum() == 20 - 2  # the crowd, beneath the other object
    convert(samples / "coco_dataset/coco_stuff", tmp_path / "s", "coco", crowd="class")
    assert (mask_of(tmp_path / "s", "a") == 1).sum() == 20 and (
        mask_of(tmp_path / "s", "b", "val") == 2
    ).sum() == 20
    report = convert(samples / "labelme_dataset", tmp_path / "l", "labelme")
    assert report.class_names == ["background", "b1", "hg", "license plate", "m1", "o1", "q1", "window"]
    window, plate = (
        mask_of(tmp_path / "l", "img1") == report.class_names.index(n) for n in ("window", "license plate")
    )
    assert (window.sum(), plate.sum()) == (3 * 4, 10)  # columns 43 to 45, rows 34 to 37; its mask's pixels
    for format in ("coco", "yolo"):
        with pytest.raises(ValueError, match="4 objects has an outline, only boxes"):
            convert(samples / "roboflow_dataset" / format, tmp_path / "o", format)
        report = convert(
            samples / "roboflow_dataset" / format, tmp_path / format, format, boxes="paint", crowd="class"
        )
        assert report.pictures == {"train": 2, "val": 1} and report.objects == {"label_0": 2, "label_1": 2}
    assert (mask_of(tmp_path / "coco", "train_001") == 1).sum() == 3  # the area that the file states
