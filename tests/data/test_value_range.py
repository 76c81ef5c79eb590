"""The range of deep pictures: stated, of the type, or measured; no level is lost."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import kseg
from kseg.value_range import ValueRange, checked_value_range


@given(
    low=st.floats(-1e6, 1e6),
    width=st.floats(1e-3, 1e6),
    shares=st.lists(st.floats(-1, 2), min_size=1, max_size=20),
)
def test_the_ends_become_0_and_255(low, width, shares):
    numbers = low + width * np.array(shares)
    expected = np.clip(255 * np.array(shares), 0, 255)
    pixels = ValueRange(low, low + width).to_pixels(numbers)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, expected, atol=2e-4 * max(1, abs(low) / width / 1e6))


@pytest.mark.parametrize("high", [1023, 4095, 16383, 65535])
def test_no_level_of_16_bits_is_lost(high):
    levels = np.arange(high + 1, dtype="uint16")
    pixels = ValueRange(0.0, float(high)).to_pixels(levels)
    assert (np.diff(pixels) > 0).all() and pixels[0] == 0 and pixels[-1] == 255


def test_each_channel_has_ends_of_its_own():
    numbers = np.array([[[10, 1000], [20, 3000]]], "uint16")
    ends = checked_value_range(([10, 1000], [20, 3000]))
    np.testing.assert_array_equal(ends.to_pixels(numbers), [[[0, 0], [255, 255]]])
    assert ends.channels == 2 and checked_value_range(ends.as_config()) == ends


@pytest.mark.parametrize(
    "value",
    [
        1,
        "type",
        (1,),
        (1, 2, 3),
        (2, 1),
        (1, 1),
        (0, float("nan")),
        (0, "1"),
        ((0, 0), 1),
        ((0, 0), (1, 1, 1)),
        [[]],
    ],
)
def test_what_is_no_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^value_range must be .*" + re.escape(repr(value))):
        checked_value_range(value)


@pytest.fixture
def deep_files(tmp_path):
    """A function that writes pictures `{split: [array]}` with masks of two classes."""

    def write(splits):
        for split, pictures in splits.items():
            for kind in ("images", "masks"):
                (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
            for index, pixels in enumerate(pictures):
                np.save(tmp_path / split / "images" / f"{index}.npy", pixels)
                mask = np.indices(pixels.shape[:2]).sum(0) % 2
                Image.fromarray(mask.astype("uint8")).save(tmp_path / split / "masks" / f"{index}.png")
        return tmp_path

    return write


def pictures_of(root, split="train", **options):
    dataset = kseg.data.from_directory(root, split, batch_size=None, shuffle=False, **options)
    return dataset.value_range, [image.numpy() for image, _ in dataset]


@pytest.mark.parametrize(
    ("dtype", "ends"),
    [("uint8", (0, 255)), ("uint16", (0, 65535)), ("int16", (-32768, 32767)), ("uint32", (0, 2**32 - 1))],
)
def test_the_range_of_a_type(deep_files, dtype, ends):
    pixels = np.linspace(*ends, 48).astype(dtype).reshape(6, 8)
    value_range, (image,) = pictures_of(deep_files({"train": [pixels]}), value_range="dtype")
    assert value_range == ends
    expected = np.interp(pixels.astype("float64"), ends, (0, 255))
    np.testing.assert_allclose(image[..., 0], expected, atol=1e-3)


def test_floats_have_no_range_of_their_type(deep_files):
    root = deep_files({"train": [np.ones((6, 8), "float32")]})
    with pytest.raises(ValueError, match=r"0\.npy: holds float32.*'percentiles'"):
        kseg.data.from_directory(root, value_range="dtype")


def test_percentiles_are_those_of_the_training_pictures_for_every_split(deep_files):
    rng = np.random.default_rng(0)
    train = [rng.normal(1000, [100, 300, 10, 1], (16, 20, 4)) for _ in range(3)]
    root = deep_files({"train": train, "val": [rng.normal(0, 1, (16, 20, 4))]})
    expected = np.percentile(np.stack(train).reshape(-1, 4), (0.5, 99.5), axis=0)
    for split in ("train", "val"):
        value_range, images = pictures_of(root, split, value_range="percentiles")
        np.testing.assert_allclose(value_range, expected)
        assert images[0].shape[-1] == 4
    np.testing.assert_array_equal(images[0], 0)  # darker than any picture of the training


def test_percentiles_without_contrast_are_refused(deep_files):
    root = deep_files({"train": [np.ones((6, 8), "uint16")]})
    with pytest.raises(ValueError, match=r"no contrast; give value_range="):
        kseg.data.from_directory(root, value_range="percentiles")


def test_ends_for_other_channels_are_refused(deep_files):
    root = deep_files({"train": [np.ones((6, 8, 4), "uint16")]})
    with pytest.raises(ValueError, match=r"value_range names 2 channels, and the pictures have 4"):
        kseg.data.from_directory(root, value_range=((0, 0), (1, 1)))


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_without_a_range_what_was_seen_is_told(deep_files, dtype):
    root = deep_files({"train": [np.linspace(0, 4095, 48).reshape(6, 8).astype(dtype)]})
    with pytest.raises(ValueError, match=r"0\.npy: holds 0–4095 in .*value_range=\(0, 4095\)"):
        kseg.data.from_directory(root)
    (problem,) = kseg.data.check(root).problems
    assert "0.npy: holds 0–4095 in" in problem
    assert kseg.data.check(root, value_range="percentiles").problems == []


def test_pictures_of_8_bits_take_a_range_too(make_files):
    root = make_files(["a"], "train", ids=(0, 1))
    _, (plain,) = pictures_of(root)
    value_range, (image,) = pictures_of(root, value_range=(0, 127.5))
    assert value_range == (0, 127.5)
    np.testing.assert_allclose(image, np.minimum(2.0 * plain, 255))
