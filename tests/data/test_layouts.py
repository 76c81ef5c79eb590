"""The gallery: each layout made small from its public description, read as it lies."""

import json

import numpy as np
import pytest
from PIL import Image

from kseg.data import check, from_directory, list_layouts
from kseg.data.layouts import LAYOUTS

CITYSCAPES = {7: 0, 8: 1, 11: 2, 26: 13, 33: 18, 0: 255, 4: 255, 29: 255, 255: 255}
SAME = {0: 0, 1: 1, 2: 2, 255: 255}


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(pixels, str):
        path.write_text(pixels)
        return
    image = Image.fromarray(pixels)
    if "SegmentationClass" in path.parts and pixels.ndim == 2:
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, "uint8").tobytes())
    image.save(path)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype="uint8")


class Row:
    """A layout: `{stem of a picture: path of it and of its mask}` of each split, what else is there."""

    def __init__(self, pairs, ids, names, others=(), hidden=(), divided=None, colors=None):
        self.pairs, self.ids, self.names, self.colors = pairs, ids, names, colors
        self.others, self.hidden, self.divided = dict(others), hidden, divided

    def make(self, root):
        """Write the files; return split → picture → its ids as they are to be read."""
        expected = {}
        for split, pairs in self.pairs.items():
            for seed, (image, mask) in enumerate(pairs):
                stored = np.resize(np.random.default_rng(seed).permutation(list(self.ids)), (6, 8))
                write(root / image, picture(seed))
                painted = stored if self.colors is None else np.array(self.colors)[stored]
                write(root / mask, painted.astype("uint8"))
                mapped = np.vectorize(self.ids.get)(stored)
                expected.setdefault(split, {})[str(root / image)] = mapped
        for path, content in self.others.items():
            write(root / path, content)
        return expected


def city(split, name, kind):
    return f"leftImg8bit/{split}/ulm/{name}_leftImg8bit.png", f"gtFine/{split}/ulm/{name}_gtFine_{kind}.png"


def voc(name):
    return f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png"


DEVKIT = "VOCdevkit/VOC2012"


def devkit(name):
    return tuple(f"{DEVKIT}/{path}" for path in voc(name))


def pets(name):
    return f"images/{name}.jpg", f"annotations/trimaps/{name}.png"


MAPILLARY = {
    "labels": [
        {"name": "animal--bird", "readable": "Bird", "evaluate": True},
        {"name": "void--unlabeled", "readable": "Unlabeled", "evaluate": False},
        {"name": "construction--barrier--curb", "readable": "Curb", "evaluate": True},
    ]
}
GALLERY = {
    "kseg": Row(
        {
            "train": [
                ("train/images/a.jpg", "train/masks/a.png"),
                ("train/images/x/a.png", "train/masks/x/a.png"),
            ],
            "val": [("valid/images/b.png", "valid/masks/b.bmp")],
        },
        SAME,
        ["sea", "land", "sky"],
        {"classes.txt": "sea\nland\nsky\n"},
    ),
    "kseg_unsplit": Row(
        {"all": [(f"images/{n}.png", f"masks/{n}.png") for n in "abcdefgh"]},
        SAME,
        ["class 0", "class 1", "class 2"],
        divided={"train": 6, "val": 2},
    ),
    "cityscapes": Row(
        {
            "train": [city("train", f"ulm_{n:06}_000019", "labelIds") for n in range(3)],
            "val": [city("val", "lindau_000001_000019", "labelIds")],
        },
        CITYSCAPES,
        19,
        {
            "gtFine/train/ulm/ulm_000000_000019_gtFine_color.png": picture(9),
            "gtFine/train/ulm/ulm_000000_000019_gtFine_instanceIds.png": picture(9)[..., 0],
            "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png": picture(9),
        },
    ),
    "cityscapes_train_ids": Row(
        {
            "train": [city("train", "ulm_000000_000019", "labelTrainIds")],
            "val": [city("val", "lindau_000001_000019", "labelTrainIds")],
        },
        SAME | {18: 18},
        19,
    ),
    "voc": Row(
        {"train": [voc("2007_000001"), voc("2007_000033")], "val": [voc("2008_1")]},
        {0: 0, 20: 20, 15: 15, 255: 255},
        21,
        {
            "ImageSets/Segmentation/train.txt": "2007_000001\n2007_000033\n",
            "ImageSets/Segmentation/val.txt": "2008_1\n\n",
            "ImageSets/Segmentation/trainval.txt": "2007_000001\n2007_000033\n2008_1\n",
            "ImageSets/Main/train.txt": "2009_9\n",
            "JPEGImages/2009_9.jpg": picture(9),
            "SegmentationObject/2008_1.png": picture(9)[..., 0],
        },
    ),
    "cvat": Row(
        {"all": [voc(f"frame_{n}") for n in range(5)]},
        {0: 0, 1: 1, 2: 2},
        ["background", "cat", "big dog"],
        colors=[(0, 0, 0), (9, 9, 9), (1, 2, 3)],
        others={
            "ImageSets/Segmentation/default.txt": "".join(f"frame_{n}\n" for n in range(5)),
            "labelmap.txt": "# label:color_rgb::\nbackground:0,0,0::\ncat:9,9,9::\nbig dog:1,2,3::\n",
        },
        divided={"train": 4, "val": 1},
    ),
    "camvid_colors": Row(
        {"all": [(f"701_StillsRaw_full/s{n}.png", f"LabeledApproved_full/s{n}_L.png") for n in range(5)]},
        {0: 0, 1: 1, 2: 255},
        ["Animal", "Archway"],
        colors=[(64, 128, 64), (192, 0, 128), (0, 0, 0)],
        others={"label_colors.txt": "64 128 64\tAnimal\n192 0 128\t\tArchway\n0 0 0\t\tVoid\n"},
        divided={"train": 4, "val": 1},
    ),
    "mapillary": Row(
        {
            "train": [("training/images/a.jpg", "training/v2.0/labels/a.png")],
            "val": [("validation/images/b.jpg", "validation/v2.0/labels/b.png")],
        },
        {0: 0, 1: 255, 2: 1},
        ["Bird", "Curb"],
        others={
            "config_v2.0.json": json.dumps(MAPILLARY),
            "testing/images/c.jpg": picture(5),
            "training/v2.0/instances/a.png": picture(6)[..., 0],
        },
    ),
    "mapillary_v1.2": Row(
        {"train": [("training/images/a.jpg", "training/v1.2/labels/a.png")]},
        {0: 0, 1: 255, 2: 1},
        ["Bird", "Curb"],
        others={"config_v1.2.json": json.dumps(MAPILLARY)},
    ),
    "mapillary_v1.1": Row(
        {
            "train": [("training/images/a.jpg", "training/labels/a.png")],
            "val": [("validation/images/b.jpg", "validation/labels/b.png")],
        },
        {0: 0, 1: 255, 2: 1},
        ["Bird", "Curb"],
        others={
            "config.json": json.dumps(MAPILLARY),
            "testing/images/c.jpg": picture(5),
            "training/instances/a.png": picture(6)[..., 0],
        },
    ),
    "voc_devkit": Row(
        {
            "train": [devkit("2007_000001"), devkit("2007_000033")],
            "val": [devkit("2008_1")],
        },
        {0: 0, 20: 20, 15: 15, 255: 255},
        21,
        {
            f"{DEVKIT}/ImageSets/Segmentation/train.txt": "2007_000001\n2007_000033\n",
            f"{DEVKIT}/ImageSets/Segmentation/val.txt": "2008_1\n",
            f"{DEVKIT}/ImageSets/Segmentation/trainval.txt": "2007_000001\n2007_000033\n2008_1\n",
            f"{DEVKIT}/JPEGImages/2009_9.jpg": picture(9),
            f"{DEVKIT}/SegmentationObject/2008_1.png": picture(9)[..., 0],
        },
    ),
    "ade20k": Row(
        {
            "train": [("images/training/ADE_1.jpg", "annotations/training/ADE_1.png")],
            "val": [("images/validation/ADE_2.jpg", "annotations/validation/ADE_2.png")],
        },
        {0: 255, 1: 0, 2: 1, 150: 149},
        150,
    ),
    "oxford_pets": Row(
        {
            "all": [pets(f"Abyssinian_{n}") for n in range(10)],
            "test": [pets("Bengal_1"), pets("Bengal_2")],
        },
        {1: 0, 2: 1, 3: 2},
        ["pet", "background", "border"],
        {
            "annotations/trainval.txt": "# id class\n"
            + "".join(f"Abyssinian_{n} 1 1 1\n" for n in range(10)),
            "annotations/test.txt": "Bengal_1 6 1 2\nBengal_2 6 1 2\n",
            "annotations/list.txt": "#Image CLASS-ID\nBengal_1 6 1 2\n",
            "annotations/trimaps/._Bengal_1.png": "AppleDouble",
            "images/Bengal_1.mat": "no picture",
        },
        divided={"train": 8, "val": 2},
    ),
    "loveda": Row(
        {
            "train": [
                (f"Train/{place}/images_png/{n}.png", f"Train/{place}/masks_png/{n}.png")
                for place, n in (("Rural", 0), ("Rural", 1), ("Urban", 0))
            ],
            "val": [("Val/Urban/images_png/7.png", "Val/Urban/masks_png/7.png")],
        },
        {0: 255, 1: 0, 4: 3, 7: 6},
        7,
        {"Test/Rural/images_png/5.png": picture(9)},
    ),
    "mmsegmentation": Row(
        {
            "train": [
                ("img_dir/train/a.jpg", "ann_dir/train/a.png"),
                ("img_dir/train/b.jpg", "ann_dir/train/b.png"),
            ],
            "val": [("img_dir/val/x/c.jpg", "ann_dir/val/x/c.png")],
        },
        SAME,
        3,
    ),
    "camvid": Row(
        {"train": [("train/0001.png", "trainannot/0001.png")], "val": [("val/2.png", "valannot/2.png")]},
        {0: 0, 3: 3, 10: 10, 11: 255},
        11,
        {"train.txt": "/train/0001.png /trainannot/0001.png\n"},
    ),
    "roboflow": Row(
        {
            "train": [("train/a_jpg.rf.01.jpg", "train/a_jpg.rf.01_mask.png")],
            "val": [("valid/b.rf.02.jpg", "valid/b.rf.02_mask.png"), ("valid/c.png", "valid/c_mask.png")],
        },
        SAME,
        ["background", "cat", "dog"],
        {
            "train/_classes.csv": "Pixel Value, Class\n0, background\n1, cat\n2, dog\n",
            "valid/_classes.csv": "Pixel Value, Class\n0, background\n1, cat\n2, dog\n",
            "README.roboflow.txt": "exported\n",
        },
    ),
    "ultralytics": Row(
        {
            "train": [("images/train/a.jpg", "masks/train/a.png")],
            "val": [("images/val/b.jpg", "masks/val/b.png"), ("images/val/c.jpg", "masks/val/c.png")],
        },
        SAME,
        ["water", "road", "roof"],
        {"data.yaml": "path: .\ntrain: images/train\nnames:\n  0: water\n  1: road\n  2: roof\n"},
    ),
}


def test_every_layout_of_the_table_is_in_the_gallery():
    assert list(GALLERY.keys() ^ set(list_layouts())) == []


@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
@pytest.mark.parametrize("name", GALLERY)
def test_a_layout_is_read_as_it_lies(tmp_path, name, named):
    row = GALLERY[name]
    expected = row.make(tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    seen = {}
    counts = {split: len(pairs) for split, pairs in expected.items() if split != "all"} | (row.divided or {})
    for split, count in counts.items():
        data = from_directory(tmp_path, split, layout=name if named else None, batch_size=None, shuffle=False)
        assert data.layout == name and len(data.image_paths) == count
        assert data.num_classes == row.names if isinstance(row.names, int) else data.class_names == row.names
        in_split = expected["all"] if split in (row.divided or ()) else expected[split]
        for path, (_, mask) in zip(data.image_paths, data.as_numpy_iterator(), strict=True):
            np.testing.assert_array_equal(mask, in_split[path])
            assert path not in seen
            seen[path] = split
    assert len(seen) == sum(map(len, expected.values()))
    report = check(tmp_path, layout=name if named else None)
    assert report.pairs == counts and report.problems == []
    own = next(layout.own for layout in LAYOUTS if layout.name == name)
    assert any(f"has the layout {name!r}" in note for note in report.notes) == (not named and not own)
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("cityscapes", "road", "bicycle"),
        ("voc", "background", "tvmonitor"),
        ("voc_devkit", "background", "tvmonitor"),
        ("ade20k", "wall", "flag"),
        ("camvid", "sky", "bicyclist"),
        ("loveda", "background", "agricultural"),
    ],
)
def test_names_of_a_table_are_in_the_order_of_its_ids(name, first, last):
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    assert (layout.class_names[0], layout.class_names[-1]) == (first, last)
    mapped = set(layout.label_map.values()) - {255}
    assert mapped <= set(range(len(layout.class_names)))


def test_unlabelled_pictures_of_a_layout_are_told(tmp_path):
    GALLERY["loveda"].make(tmp_path)
    notes = check(tmp_path).notes
    assert any("1 pictures without masks, passed over" in note for note in notes)
    with pytest.raises((ValueError, FileNotFoundError), match="mask"):
        from_directory(tmp_path, "test")


def test_what_the_user_says_goes_before_the_layout(tmp_path):
    GALLERY["ade20k"].make(tmp_path)
    own = {0: 3, 1: 0, 2: 1, 150: 2}
    data = from_directory(tmp_path, label_map=own, class_names=list("abcd"), batch_size=None)
    ((_, mask),) = data.as_numpy_iterator()
    stored = np.asarray(Image.open(tmp_path / "annotations/training/ADE_1.png"))
    np.testing.assert_array_equal(mask, np.vectorize(own.get)(stored))
    (tmp_path / "classes.txt").write_text("\n".join(f"name {n}" for n in range(150)))
    assert from_directory(tmp_path).class_names[149] == "name 149"


@pytest.mark.parametrize("void", [-1, (254, -1)])
@pytest.mark.parametrize("name", ["cityscapes", "voc", "ade20k", "camvid"])
def test_void_of_a_layout_is_the_void_that_is_asked_for(tmp_path, name, void):
    row = GALLERY[name]
    expected = row.make(tmp_path)["val"]
    first = void if isinstance(void, int) else void[0]
    data = from_directory(tmp_path, "val", ignore_class=void, batch_size=None, shuffle=False)
    for path, (_, mask) in zip(data.image_paths, data.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(mask, np.where(expected[path] == 255, first, expected[path]))


def test_a_pattern_replaces_that_of_a_layout(tmp_path):
    GALLERY["voc"].make(tmp_path)
    (tmp_path / "SegmentationClass").rename(tmp_path / "SegmentationClassAug")
    data = from_directory(tmp_path, "val", layout="voc", masks="SegmentationClassAug/*.png")
    assert data.num_classes == 21 and len(data.image_paths) == 1


def test_an_unknown_layout_offers_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="unknown layout 'cityscape'; did you mean 'cityscapes'"):
        from_directory(tmp_path, layout="cityscape")


@pytest.mark.parametrize("name", GALLERY)
def test_a_layout_that_is_not_there_says_what_was_expected(tmp_path, name):
    with pytest.raises((ValueError, FileNotFoundError), match=str(tmp_path)) as caught:
        from_directory(tmp_path, layout=name)
    assert len(str(caught.value).splitlines()) == 1


def test_ids_of_names_with_gaps_are_put_together(tmp_path):
    row = GALLERY["ultralytics"]
    Row(row.pairs, {0: 0, 5: 1, 9: 2}, row.names, {"data.yaml": "names: {0: a, 9: c, 5: b}"}).make(tmp_path)
    data = from_directory(tmp_path, "train", batch_size=None)
    assert data.class_names == ["a", "b", "c"]
    ((_, mask),) = data.as_numpy_iterator()
    assert set(np.unique(mask)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("data.yaml", "names: [a, b\n", "cannot be read as YAML"),
        ("data.yaml", "names: 3\n", "names must be a list, or a map of ids and names, got 3"),
        ("data.yaml", b"names: [\xff\xfe]", "expected UTF-8"),
    ],
)
def test_a_file_of_names_that_cannot_be_read_is_named(tmp_path, file, content, words):
    GALLERY["ultralytics"].make(tmp_path)
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"{file}: .*{words}"):
        from_directory(tmp_path)
    assert from_directory(tmp_path, class_names=["a", "b", "c"]).num_classes == 3


def test_a_table_of_names_that_is_none(tmp_path):
    GALLERY["roboflow"].make(tmp_path)
    (tmp_path / "train/_classes.csv").write_text("filename, a, b\nx.jpg, 1, 0\n")
    with pytest.raises(ValueError, match=r"_classes\.csv: expected an id and a name on each line"):
        from_directory(tmp_path)


@pytest.mark.parametrize("above", ["VOC2007", "VOCdevkit/VOC2007", "a/b/c"])
def test_a_layout_some_folders_below_is_offered(tmp_path, above):
    GALLERY["voc"].make(tmp_path / above)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path / above} has the layout 'voc': give that folder"):
        from_directory(tmp_path)
    assert from_directory(tmp_path / above, "val").layout == "voc"
