"""Pictures of several bands, of deep numbers and on pages: each number arrives, or the file is named."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

import kseg
from kseg.data.headers import image_header
from kseg.data.reading import read_image, read_numbers
from kseg.value_range import ValueRange

rng = np.random.default_rng(0)


def numbers(*shape, dtype="uint16", high=4096):
    values = rng.uniform(-1, 1, shape) if np.dtype(dtype).kind == "f" else rng.integers(0, high, shape)
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 13])
def test_every_number_of_a_tiff_and_an_array_arrives(tmp_path, dtype, bands):
    pixels = numbers(20, 24, bands, dtype=dtype)
    stored = pixels[..., 0] if bands == 1 else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="contig")
    np.save(tmp_path / "a.npy", stored)
    for name in ("a.tif", "a.npy"):
        read = read_numbers(tmp_path / name, None)
        header = image_header(tmp_path / name, deep=True)
        np.testing.assert_array_equal(read, np.repeat(pixels, 3, -1) if bands == 1 else pixels)
        assert (header.size, header.dtype) == ((20, 24), dtype) and header.channels == read.shape[-1]


@pytest.mark.parametrize(
    "form",
    [
        {"tile": (16, 16), "compression": "zlib", "predictor": True},
        {"compression": "zstd"},
        {"compression": "lzw", "bigtiff": True},
        {"byteorder": ">"},
        {"planarconfig": "separate"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_however_a_tiff_is_stored(tmp_path, form, dtype):
    pixels = numbers(40, 50, 5, dtype=dtype, high=200)
    separate = form.get("planarconfig") == "separate"
    stored = np.moveaxis(pixels, -1, 0) if separate else pixels
    form = {"planarconfig": "contig", **form}
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", **form)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif", None), pixels)


@pytest.mark.parametrize("kind", ["grey", "RGB", "RGBA"])
def test_every_digit_of_a_png_of_16_bits_arrives(tmp_path, png, kind):
    pixels = numbers(6, 9, 3, high=2**16)
    path = tmp_path / "a.png"
    if kind == "RGBA":
        import imagecodecs

        alpha = np.full((6, 9, 1), 65535, "uint16")
        path.write_bytes(imagecodecs.png_encode(np.concatenate([pixels, alpha], -1)))
    else:
        path.write_bytes(png(pixels if kind == "RGB" else pixels[..., 0], bits=16))
    expected = np.repeat(pixels[..., :1], 3, -1) if kind == "grey" else pixels
    np.testing.assert_array_equal(read_numbers(path), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_bands_are_turned_as_exif_says(tmp_path, orientation, bands):
    pixels = numbers(6, 9, bands, dtype="uint8", high=256)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels[..., 0] if bands == 1 else pixels,
        extratags=tags,
        photometric="minisblack",
        planarconfig=None if bands == 1 else "contig",
    )
    planes = []
    for band in range(bands):
        plane = Image.fromarray(pixels[..., band])
        plane.getexif()[274] = orientation
        planes.append(np.asarray(ImageOps.exif_transpose(plane)))
    expected = np.stack(planes, -1)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif", None, page=0)[..., :bands], expected)
    assert image_header(tmp_path / "a.tif", page=0).size == expected.shape[:2]


def test_a_page_is_named_by_number(tmp_path):
    pages = numbers(7, 12, 10, high=2**16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    for number in range(7):
        read = read_numbers(tmp_path / "a.tif", 1, page=number)
        np.testing.assert_array_equal(read[..., 0], pages[number])
    refused(tmp_path / "a.tif", "7 pictures in one file", "page=, 0 to 6", page=None)
    for number in (7, -1):
        refused(tmp_path / "a.tif", "has 7 pages, 0 to 6", f"page={number}", page=number)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_a_frame_is_named_by_number(tmp_path, suffix):
    frames = [Image.fromarray(np.full((9, 9), 40 * index + 5, "uint8")) for index in range(4)]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    for number in range(4):
        assert (read_image(tmp_path / f"a.{suffix}", page=number) == 40 * number + 5).all()
    refused(tmp_path / f"a.{suffix}", "has 4 frames", "page=4", page=4)


def test_a_smaller_copy_is_no_page(tmp_path):
    pixels = numbers(32, 32, 5)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels, photometric="minisblack", planarconfig="contig", subifds=0)
        file.write(pixels[::2, ::2], photometric="minisblack", planarconfig="contig", subfiletype=1)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif", 5), pixels)
    refused(tmp_path / "a.tif", "has 1 pages", page=1)


def refused(path, *words, page=None, channels=None):
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        read_numbers(path, channels, page)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_that_a_file_does_not_have(tmp_path, channels):
    np.save(tmp_path / "a.npy", numbers(4, 5, 6))
    refused(tmp_path / "a.npy", "has 6 bands", f"channels={channels}", channels=channels)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(5), "(H, W) or (H, W, C)"),
        (np.zeros((2, 4, 4, 3)), "(2, 4, 4, 3)"),
        (np.zeros((0, 4)), "(0, 4)"),
        (np.zeros((4, 4), "complex64"), "complex64"),
        (np.full((4, 4), np.nan), "16 pixels are NaN"),
        (np.array([[{"code": 1}]], object), "cannot be read as a NumPy array"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    refused(tmp_path / "a.npy", words)


def test_the_library_is_named_where_it_is_missing(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", numbers(6, 8, 5), photometric="minisblack", planarconfig="contig")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(tmp_path / "a.tif", "tifffile, which is missing", "kseg[bands]")


@pytest.mark.filterwarnings("ignore")  # Pillow may warn of what it meets
@settings(deadline=None, max_examples=100, derandomize=True)
@given(data=st.data())
def test_a_broken_tiff_of_bands_fails_by_name(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "broken.tif"
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    values = np.arange(12 * 9 * 5, dtype="uint16").reshape(12, 9, 5)
    tifffile.imwrite(path, values, compression=data.draw(st.sampled_from([None, "zlib"])), **options)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read_numbers(path, None)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")


def with_pictures(root, pictures, split="train"):
    for kind in ("images", "masks"):
        (root / split / kind).mkdir(parents=True, exist_ok=True)
    for name, pixels in pictures.items():
        np.save(root / split / "images" / f"{name}.npy", pixels)
        mask = np.arange(pixels.shape[0] * pixels.shape[1]).reshape(pixels.shape[:2]) % 3
        Image.fromarray(mask.astype("uint8")).save(root / split / "masks" / f"{name}.png")
    return Path(root)


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
@pytest.mark.parametrize("deep", [False, True])
def test_a_data_set_of_bands(tmp_path, bands, deep):
    pictures = {str(i): numbers(8, 9, bands, dtype="uint16" if deep else "uint8", high=256) for i in range(3)}
    root = with_pictures(tmp_path, pictures)
    ends = (0, 4095) if deep else None
    dataset = kseg.data.from_directory(root, batch_size=None, shuffle=False, value_range=ends)
    images = [image.numpy() for image, _ in dataset]
    assert dataset.channels == max(bands, 3 * (bands == 1)) == images[0].shape[-1]
    assert dataset.value_range == (None if ends is None else (0.0, 4095.0))
    assert dataset.take(1).value_range == dataset.value_range
    for image, pixels in zip(images, pictures.values(), strict=True):
        assert image.dtype == ("float32" if deep else "uint8")
        expected = pixels * (255 / 4095 if deep else 1) * np.ones(dataset.channels // bands or 1)
        np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert kseg.data.check(root, value_range=ends).problems == []


def test_files_of_other_bands_are_named(tmp_path):
    root = with_pictures(
        tmp_path, {"a": numbers(8, 9, 4, dtype="uint8", high=9), "b": np.ones((8, 9), "uint8")}
    )
    with pytest.raises(ValueError, match=r"b\.npy: has channels 3, and .*a\.npy has 4; give channels="):
        kseg.data.from_directory(root)


@pytest.mark.parametrize("argument", ["channels", "page"])
@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
def test_arguments_that_are_no_numbers(tmp_path, argument, value):
    root = with_pictures(tmp_path, {"a": np.ones((8, 9, 3), "uint8")})
    with pytest.raises(ValueError, match=f"{argument} must be an int"):
        kseg.data.from_directory(root, **{argument: value})


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    bands=st.sampled_from([1, 2, 4, 5, 13]),
    dtype=st.sampled_from(["float32", "uint8"]),
    ends=st.booleans(),
    strength=st.sampled_from(["light", "default", "strong"]),
    seed=st.integers(0, 2**31),
)
def test_augmented_bands_stay_within_0_and_255(bands, dtype, ends, strength, seed):
    draw = np.random.default_rng(seed)
    pixels = 255 * draw.integers(0, 2, (19, 23, bands)) if ends else draw.uniform(0, 255, (19, 23, bands))
    mask = draw.integers(0, 3, (19, 23))
    augment = kseg.data.augment((16, 12), strength=strength, fill=0 if ends else 127)
    image, ids = augment(pixels.astype(dtype), mask, (seed, 1))
    assert image.dtype == dtype and image.shape == (16, 12, bands)
    assert image.numpy().min() >= 0 and image.numpy().max() <= 255
    assert set(np.unique(ids)) <= {0, 1, 2, 255}


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_augmented_crops_of_bands_of_a_folder(tmp_path, bands):
    root = with_pictures(tmp_path, {str(i): numbers(20, 24, bands) for i in range(4)})
    augment = kseg.data.augment((16, 16), strength="strong")
    options = {"value_range": "percentiles", "channels": bands, "batch_size": 2}
    dataset = kseg.data.from_directory(root, augment=augment, **options)
    again = kseg.data.from_directory(root, augment=augment, **options)
    for (images, masks), (same, _) in zip(dataset, again, strict=True):
        assert images.shape == (2, 16, 16, bands) and images.dtype == "float32"
        assert images.numpy().min() >= 0 and 20 < images.numpy().max() <= 255
        assert len(np.unique(images)) > 100  # no level is rounded away
        np.testing.assert_array_equal(images, same)
        assert set(np.unique(masks)) <= {0, 1, 2, 255}


def test_augmented_bands_in_fit(tmp_path):
    root = with_pictures(tmp_path, {str(i): numbers(20, 24, 13, dtype="float32") for i in range(4)})
    data = kseg.data.from_directory(
        root, value_range=(-1, 1), augment=kseg.data.augment((16, 16), strength="strong"), batch_size=2
    )
    model = kseg.build_conv_stack(data.num_classes, input_shape=(None, None, 13), depth=1, filters=2)
    kseg.compile(model, len(data), jit_compile=False)
    history = model.fit(data, epochs=1, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_a_page_of_one_bit(tmp_path):
    pages = rng.integers(0, 2, (3, 12, 10)).astype(bool)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 1, page=1)[..., 0], 255 * pages[1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bands", [3, 4])
def test_planes_of_16_bits_are_read_right(tmp_path, bands, order):
    planes = np.random.default_rng(0).integers(0, 2**16, (bands, 12, 16), dtype="uint16")
    options = {"photometric": "rgb", "planarconfig": "separate", "byteorder": order}
    tifffile.imwrite(tmp_path / "a.tif", planes, **options, extrasamples=[2] * (bands - 3))
    expected = np.moveaxis(planes, 0, -1)[..., :3] / 257
    pixels = read_image(tmp_path / "a.tif", value_range=ValueRange(0, 65535))
    np.testing.assert_allclose(pixels, expected, atol=0.01)
    with pytest.raises(ValueError, match=r"a\.tif: holds .* in 16 bits"):
        read_image(tmp_path / "a.tif")
