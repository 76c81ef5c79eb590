"""Masks on pages: `page=` names that of picture and mask alike; what is no page does not count."""

import re

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kseg.data import check, from_directory, from_files
from kseg.data.mask_files import mask_header, read_mask

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 12, 10), "uint8")
IDS = np.random.default_rng(1).integers(0, 3, (4, 12, 10), "uint8")


def assert_reads(path, page, ids):
    np.testing.assert_array_equal(read_mask(path, page=page), ids)
    assert mask_header(path, page=page).size == ids.shape


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "uint64"])
def test_each_page_of_integers(tmp_path, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IDS.astype(dtype), photometric="minisblack")
    for page, ids in enumerate(IDS):
        assert_reads(path, page, ids)
    for read in (read_mask, mask_header):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: has 4 .*, 0 to 3, and page=4"):
            read(path, page=4)
        with pytest.raises(ValueError, match=r"4 pictures in one file; name one by page=, 0 to 3"):
            read(path)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
@settings(deadline=None, max_examples=12, derandomize=True)
@given(beside=st.integers(0, 5), seed=st.integers(0, 9))
def test_smaller_copies_are_no_pages(tmp_path_factory, dtype, beside, seed):
    path = tmp_path_factory.getbasetemp() / f"beside_{dtype}.tif"
    order = np.random.default_rng(seed).permutation([0] * len(IDS) + [1] * beside)  # 1 is a smaller copy
    pages = iter(IDS.astype(dtype))
    with tifffile.TiffWriter(path) as writer:
        for kind in order:
            pixels = (
                next(pages) if kind == 0 else np.full((12, 10), 9, dtype)
            )  # no smaller, so that it is told by its kind
            writer.write(pixels, photometric="minisblack", subfiletype=int(kind))
    for page, ids in enumerate(IDS):
        assert_reads(path, page, ids)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a64.tif"])
def test_a_mask_of_one_page_is_read_whatever_page_is_named(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, IDS[1])
    elif name == "a64.tif":
        tifffile.imwrite(path, IDS[1].astype("int64"))
    else:
        Image.fromarray(IDS[1]).save(path)
    for page in (None, 0, 3):
        assert_reads(path, page, IDS[1])


def test_a_lossy_page_behind_a_sound_one_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for ids, compression in zip(IDS[:2], (None, "jpeg"), strict=True):
            writer.write(ids, photometric="minisblack", compression=compression)
    assert_reads(path, 0, IDS[0])
    with pytest.raises(ValueError, match=r"a\.tif: its JPEG compression changes ids"):
        read_mask(path, page=1)


@pytest.fixture
def stacks(tmp_path):
    """Three pairs of stacks, each page with the ids of another."""
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}-volume.tif", PICTURES + number, photometric="minisblack")
        tifffile.imwrite(tmp_path / f"{number}-labels.tif", np.roll(IDS, number, 0), photometric="minisblack")
    return tmp_path


PATTERNS = {"images": "*-volume.tif", "masks": "*-labels.tif"}


@pytest.mark.parametrize("names", [None, ["sea", "land", "sky"]])
@pytest.mark.parametrize("page", [0, 2])
def test_pairs_of_stacks_are_read_by_page(stacks, page, names):
    options = {"page": page, "class_names": names, "batch_size": None}
    seen = 0
    for split in ("train", "val"):
        data = from_directory(stacks, split, shuffle=False, **PATTERNS, **options)
        assert data.class_names == (names or ["class 0", "class 1", "class 2"])
        for path, (image, mask) in zip(data.image_paths, data.as_numpy_iterator(), strict=True):
            number = int(path.rpartition("/")[2][0])
            np.testing.assert_array_equal(image[..., 0], PICTURES[page] + number)
            np.testing.assert_array_equal(mask, IDS[(page - number) % 4])
            seen += 1
    assert seen == 3
    report = check(stacks, page=page, class_names=names, **PATTERNS)
    assert report.problems == [] and sum(map(sum, report.pixels.values())) == 3 * 12 * 10


def test_files_of_classes_are_read_by_page(stacks):
    masks = [stacks / f"class_{number}.tif" for number in (1, 2)]
    for number, path in enumerate(masks, 1):
        tifffile.imwrite(path, (number == IDS).astype("uint8"), photometric="minisblack")
    data = from_files([stacks / "0-volume.tif"], [tuple(masks)], page=3, batch_size=None)
    ((_, mask),) = data.as_numpy_iterator()
    np.testing.assert_array_equal(mask, IDS[3])
