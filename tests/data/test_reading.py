import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kseg.data.headers import image_header
from kseg.data.loading import Watched, decode_image, decode_mask
from kseg.data.mask_files import mask_header, read_mask
from kseg.data.reading import read_image

READERS = [image_header, mask_header, read_image, read_mask]


def watched_pixels(path, header, read, decode):
    """Return what `Watched` gives: of a plain file by the fast decoder, and then with every check."""
    results = [
        Watched([path], [replace(header, plain=plain)], read, decode).pixels(0)
        for plain in sorted({header.plain, False}, reverse=True)
    ]
    np.testing.assert_array_equal(results[0], results[-1])
    return results[0]


def assert_reads_mask(path, ids):
    mask = read_mask(path)
    header = mask_header(path)
    loaded = watched_pixels(path, header, read_mask, decode_mask)
    assert mask.dtype == np.int32 and loaded.dtype in (np.uint8, np.int32)
    assert header.size == mask.shape
    np.testing.assert_array_equal(mask, ids)
    np.testing.assert_array_equal(loaded, ids)


def assert_reads_image(path, pixels):
    image = read_image(path)
    header = image_header(path)
    loaded = watched_pixels(path, header, read_image, decode_image)
    assert image.dtype == loaded.dtype == np.uint8
    assert header.size == image.shape[:2]
    np.testing.assert_array_equal(image, pixels)
    np.testing.assert_array_equal(loaded, pixels)


def turned(pixels, orientation):
    image = Image.fromarray(pixels)
    image.getexif()[274] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def exif(orientation):
    tags = Image.Exif()
    tags[274] = orientation
    return tags


# masks


@pytest.mark.parametrize(
    ("bits", "ids"),
    [(1, [0, 1]), (2, [0, 1, 2, 3]), (4, [0, 1, 7, 15]), (8, [0, 1, 2, 255]), (16, [0, 1, 300, 65535])],
)
def test_grey_mask_holds_the_ids_of_the_file(tmp_path, png, bits, ids):
    mask = np.resize(ids, (5, 7))  # 7: rows end within a byte
    path = tmp_path / "mask.png"
    path.write_bytes(png(mask, bits))
    assert_reads_mask(path, mask)


@pytest.mark.parametrize(
    ("bits", "ids"), [(1, [0, 1]), (2, [0, 1, 2]), (4, [0, 1, 2, 15]), (8, [0, 1, 2, 255])]
)
def test_palette_mask_holds_indices_whatever_the_colours(tmp_path, png, bits, ids):
    mask = np.resize(ids, (5, 7))
    path = tmp_path / "mask.png"
    palette = np.random.default_rng(0).integers(0, 256, (2**bits, 3))
    path.write_bytes(png(mask, bits, palette))
    assert_reads_mask(path, mask)


@pytest.mark.parametrize(("name", "dtype"), [("m.bmp", "uint8"), ("m.tif", "uint8"), ("m.tif", "uint16")])
def test_mask_of_another_lossless_format(tmp_path, name, dtype):
    mask = np.resize([0, 1, 2, 250], (5, 7)).astype(dtype)
    Image.fromarray(mask).save(tmp_path / name)
    assert_reads_mask(tmp_path / name, mask)


@pytest.mark.parametrize("outside", [-1, 70000])
def test_mask_of_32_bits_is_refused_where_16_do_not_do(tmp_path, outside):
    path = tmp_path / "mask.tif"
    Image.fromarray(np.array([[0, 1, outside]], "int32")).save(path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ids .*{outside}.* not within 0..65535"):
        read_mask(path)


@pytest.mark.parametrize("name", ["mask.jpg", "mask.png"])
@pytest.mark.parametrize("picture_format", ["JPEG", "MPO"])
def test_jpeg_mask_is_refused_whatever_its_name(tmp_path, name, picture_format):
    path = tmp_path / name
    Image.fromarray(np.zeros((8, 8), "uint8")).save(path, format=picture_format)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: a JPEG mask .* PNG"):
        read_mask(path)


# pictures


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_decoded_fast_and_as_by_pillow(tmp_path, smooth_picture, subsampling, progressive):
    path = tmp_path / "image.jpg"
    Image.fromarray(smooth_picture).save(path, subsampling=subsampling, progressive=progressive)
    assert image_header(path).plain
    assert_reads_image(path, np.asarray(Image.open(path)))


def test_png_is_decoded_fast_and_exactly(tmp_path, smooth_picture):
    path = tmp_path / "image.png"
    Image.fromarray(smooth_picture).save(path)
    assert image_header(path).plain
    assert_reads_image(path, smooth_picture)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "image.jpg"),
        ("L", "image.png"),
        ("1", "image.png"),
        ("CMYK", "image.jpg"),
        ("RGBA", "image.png"),
        ("LA", "image.png"),
        ("P", "image.png"),
        ("RGB", "image.bmp"),
        ("RGB", "image.tif"),
        ("RGBA", "image.webp"),
    ],
)
def test_picture_of_another_mode_becomes_rgb_as_by_pillow(tmp_path, smooth_picture, mode, name):
    path = tmp_path / name
    Image.fromarray(smooth_picture).convert(mode).save(path)
    assert_reads_image(path, np.asarray(Image.open(path).convert("RGB")))


def test_transparency_leaves_the_colours_of_a_palette(tmp_path, png, smooth_picture):
    path = tmp_path / "image.png"
    picture = Image.fromarray(smooth_picture).quantize(16)
    picture.save(path, transparency=bytes(range(0, 256, 16)))
    assert_reads_image(path, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("channels", [1, 3])
def test_picture_of_16_bits_keeps_the_upper_8(tmp_path, png, channels):
    pixels = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3))
    path = tmp_path / "image.png"
    path.write_bytes(png(pixels if channels == 3 else pixels[..., 0], bits=16))
    upper = pixels >> 8
    assert_reads_image(path, upper if channels == 3 else np.repeat(upper[..., :1], 3, axis=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.tif", "image.webp"])
def test_picture_is_turned_as_exif_says(tmp_path, smooth_picture, name, orientation):
    path = tmp_path / name
    Image.fromarray(smooth_picture).save(path)
    stored = np.asarray(Image.open(path).convert("RGB"))
    Image.fromarray(smooth_picture).save(path, exif=exif(orientation))
    assert_reads_image(path, turned(stored, orientation))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_tiff_is_turned_as_exif_says(tmp_path, smooth_picture, dtype):
    path = tmp_path / "image.tif"
    grey = smooth_picture[..., 0]
    stored = grey.astype("uint16") << 8 if dtype == "uint16" else grey
    Image.fromarray(stored).save(path, exif=exif(6))
    assert_reads_image(path, np.repeat(turned(grey, 6)[..., None], 3, axis=-1))


def test_first_of_several_pictures_in_a_jpeg_is_turned(tmp_path, smooth_picture):
    path = tmp_path / "image.jpg"
    picture = Image.fromarray(smooth_picture)
    picture.save(path, format="MPO", save_all=True, append_images=[picture], exif=exif(6))
    with Image.open(path) as stored:
        assert_reads_image(path, turned(np.asarray(stored), 6))


@pytest.mark.parametrize("orientation", [0, 9])
def test_orientation_that_does_not_exist_turns_nothing(tmp_path, smooth_picture, orientation):
    path = tmp_path / "image.webp"
    Image.fromarray(smooth_picture).save(path, lossless=True, exif=exif(orientation))
    assert_reads_image(path, smooth_picture)


def test_damaged_exif_turns_nothing(tmp_path, smooth_picture):
    path = tmp_path / "image.webp"
    Image.fromarray(smooth_picture).save(path, lossless=True, exif=b"Exif\0\0MM\0no TIFF header")
    assert_reads_image(path, smooth_picture)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels(tmp_path, smooth_picture, channels, mode):
    path = tmp_path / "image.png"
    Image.fromarray(smooth_picture).save(path)
    expected = np.asarray(Image.fromarray(smooth_picture).convert(mode)).reshape(33, 47, channels)
    np.testing.assert_array_equal(read_image(path, channels), expected)


def test_other_channels_are_refused(tmp_path, smooth_picture):
    path = tmp_path / "image.png"
    Image.fromarray(smooth_picture).save(path)
    with pytest.raises(ValueError, match=r"image\.png: has 3 bands, and channels=5 are asked for"):
        read_image(path, channels=5)


# files that cannot be read


@pytest.fixture(params=["empty", "half JPEG", "half PNG", "text", "folder", "EPS"])
def unreadable(request, tmp_path, png, smooth_picture):
    path = tmp_path / "odd name [1].png"
    jpeg = BytesIO()
    Image.fromarray(smooth_picture).save(jpeg, "JPEG")
    contents = {
        "empty": b"",
        "half JPEG": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "half PNG": png(smooth_picture)[:2000],
        "text": b"<html>not found</html>\n",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    }
    if request.param == "folder":
        path.mkdir()
    else:
        path.write_bytes(contents[request.param])
    return path


def assert_fails_by_name(read, path, error):
    with pytest.raises(error, match=f"^{re.escape(str(path))}: ") as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("read", READERS)
def test_unreadable_file_fails_by_name(unreadable, read):
    assert_fails_by_name(read, unreadable, ValueError)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("picture_format", ["JPEG", "PNG", "WEBP"])
def test_a_cut_file_is_to_be_restored(tmp_path, smooth_picture, picture_format, share):
    content, path = BytesIO(), tmp_path / "a.jpg"
    Image.fromarray(smooth_picture).save(content, picture_format)
    path.write_bytes(content.getvalue()[: max(13, int(share * len(content.getvalue())))])
    with pytest.raises(ValueError, match=r"the file is cut short.*; restore or remove it$") as caught:
        image_header(path)
    assert "use JPEG or PNG" not in str(caught.value)


@pytest.mark.parametrize("read", READERS)
def test_missing_file_fails_by_name(tmp_path, read):
    assert_fails_by_name(read, tmp_path / "missing.png", FileNotFoundError)


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_damaged_pixels_fail_by_name(tmp_path, png, smooth_picture, read):
    path = tmp_path / "damaged.png"
    data = bytearray(png(smooth_picture[..., 0]))
    data[100:140] = bytes(40)
    path.write_bytes(data)
    assert_fails_by_name(read, path, ValueError)


@pytest.mark.parametrize("side", [9_440, 10_000, 20_000])  # Pillow: says nothing, warns, refuses
@pytest.mark.parametrize("read", READERS)
def test_huge_picture_is_refused_by_its_header(tmp_path, png, read, side):
    path = tmp_path / "huge.png"
    path.write_bytes(png([[0]], size=(side, side)))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: has more than 89,000,000 pixels"):
        read(path)


def test_reading_in_threads_leaves_the_filters_of_warnings(tmp_path, png):
    path = tmp_path / "image.png"
    path.write_bytes(png([[0]]))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(image_header, [path] * 500))
    assert warnings.filters == before


@pytest.fixture(scope="module")
def sound_files():
    files = []
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype="uint8")
    for picture_format in ("BMP", "JPEG", "PNG", "TIFF", "WEBP"):
        for picture in (pixels, pixels[..., 0] % 4):
            file = BytesIO()
            Image.fromarray(picture).save(file, picture_format, exif=exif(6))
            files.append(file.getvalue())
    return files


@pytest.mark.filterwarnings("ignore")  # Pillow may warn of what it meets
@settings(deadline=None, max_examples=150, derandomize=True)
@given(data=st.data())
def test_whatever_is_broken_fails_by_name(tmp_path_factory, sound_files, data):
    content = bytearray(data.draw(st.sampled_from(sound_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken.bin"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read in (read_image, read_mask):
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_as_their_pictures_do(tmp_path, suffix, orientation):
    ids = np.random.default_rng(0).integers(0, 9, (6, 8)).astype("uint8")
    tags = Image.Exif()
    tags[274] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = Image.fromarray(np.repeat(ids[..., None], 3, -1))
    pixels.save(tmp_path / f"image.{suffix}", exif=tags, **options)
    picture = read_image(tmp_path / f"image.{suffix}")
    assert image_header(tmp_path / f"image.{suffix}").size == picture.shape[:2]
    if suffix != "webp":  # which has no single channel
        Image.fromarray(ids).save(tmp_path / f"mask.{suffix}", exif=tags)
        header, mask = mask_header(tmp_path / f"mask.{suffix}"), read_mask(tmp_path / f"mask.{suffix}")
        assert header.size == mask.shape and header.plain == (orientation == 1 and suffix == "png")
        np.testing.assert_array_equal(mask, picture[..., 0])
