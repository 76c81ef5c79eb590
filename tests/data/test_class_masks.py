"""Masks of one file per class, as they are put together and through a whole data set."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kseg.data.checking import check
from kseg.data.files import ImageMaskFiles
from kseg.data.lists import from_files
from kseg.data.mask_files import mask_header, read_mask
from kseg.data.source import Source

SHAPE = (6, 9)


def write(folder, layers, value=255, mode="RGB"):
    paths = []
    for number, layer in enumerate(layers):
        path = folder / f"{number}.png"
        Image.fromarray((layer * value).astype("uint8")).convert(mode).save(path)
        paths.append(path)
    return tuple(paths)


def noise(count, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE)) < 0.4


@pytest.mark.parametrize(("value", "mode"), [(255, "RGB"), (255, "L"), (1, "L"), (128, "RGB"), (255, "1")])
def test_later_files_lie_above(tmp_path, value, mode):
    layers = noise(3)
    paths = write(tmp_path, layers, value, mode)
    expected = np.select(layers[::-1], [3, 2, 1], 0)
    mask = read_mask(paths)
    assert mask.dtype == np.int32
    np.testing.assert_array_equal(mask, expected)
    header = mask_header(paths)
    assert header.size == SHAPE and not header.plain


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 99), present=st.lists(st.booleans(), min_size=1, max_size=5).filter(any))
def test_classes_that_are_not_there_leave_their_number(tmp_path_factory, seed, present):
    layers = noise(len(present), seed)
    paths = write(tmp_path_factory.getbasetemp(), layers)
    paths = tuple(path if there else None for path, there in zip(paths, present, strict=True))
    expected = np.zeros(SHAPE, int)
    for number, (layer, there) in enumerate(zip(layers, present, strict=True), 1):
        expected[layer & there] = number
    np.testing.assert_array_equal(read_mask(paths), expected)


def test_empty_files_mark_nothing(tmp_path):
    layers = noise(2)
    layers[1] = False
    np.testing.assert_array_equal(read_mask(write(tmp_path, layers)), layers[0])


def test_faults_are_named(tmp_path):
    paths = write(tmp_path, noise(3))
    Image.fromarray(np.resize([0, 3, 255], SHAPE).astype("uint8")).save(paths[1])
    with pytest.raises(ValueError, match=rf"^{re.escape(str(paths[1]))}: .*2 others, \[3, 255\]"):
        read_mask(paths)
    Image.new("L", (4, 5)).save(paths[2])
    for read in (read_mask, mask_header):
        with pytest.raises(
            ValueError, match=rf"^{re.escape(str(paths[2]))}: 4×5 pixels, but .*0\.png has 9×6"
        ):
            read(paths)
        with pytest.raises(ValueError, match="needs one file at least"):
            read((None, None))
        with pytest.raises(ValueError, match="each stands for one class"):
            read((paths[0], paths[0]))
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            read((paths[0], tmp_path / "none.png"))


def test_a_data_set_of_such_masks_is_read(tmp_path):
    layers, pictures, masks = noise(8).reshape(4, 2, *SHAPE), [], []
    for number, pair in enumerate(layers):
        folder = tmp_path / str(number)
        folder.mkdir()
        masks.append(write(folder, pair))
        pictures.append(folder / "picture.png")
        Image.fromarray(np.full((*SHAPE, 3), number, "uint8")).save(pictures[-1])
    names = ["background", "lane", "crack"]
    dataset = from_files(pictures, masks, batch_size=4, class_names=names)
    expected = np.where(layers[:, 1], 2, layers[:, 0])
    np.testing.assert_array_equal(next(iter(dataset))[1], expected)


def test_a_check_names_the_first_file(tmp_path, monkeypatch):
    (tmp_path / "train/images").mkdir(parents=True)
    masks = write(tmp_path, noise(2))
    picture = tmp_path / "train/images/a.png"
    Image.new("RGB", SHAPE[::-1]).save(picture)
    files = ImageMaskFiles([picture], [masks])
    monkeypatch.setattr(Source, "files", lambda self, split, unpaired=None: files)
    report = check(tmp_path, class_names=["background", "lane", "crack"])
    assert report.problems == []
    np.testing.assert_array_equal(report.pixels["train"], np.bincount(read_mask(masks).ravel(), minlength=3))
    (*_, problem) = check(tmp_path, class_names=["background", "lane"]).problems[:1]
    assert problem.startswith(f"{masks[0]} (and 1 more of its classes): class ids [2] outside")
