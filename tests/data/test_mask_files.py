"""Masks as people have them: channels, formats, numbers, orientation; what is lossy is refused."""

import re
import sys

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from kseg.data import from_directory
from kseg.data.mask_files import mask_header, read_mask

IDS = np.resize([0, 1, 2, 250], (5, 7)).astype("uint8")


def assert_reads(path, ids):
    mask = read_mask(path)
    assert mask.dtype == np.int32
    np.testing.assert_array_equal(mask, ids)
    assert mask_header(path).size == mask.shape


def refused(path, words):
    for read in (mask_header, read_mask):
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{words}"):
            read(path)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_equal_channels_hold_the_ids(tmp_path, mode, suffix):
    if (mode, suffix) == ("LA", "bmp"):
        mode = "RGB"  # BMP has no grey with alpha
    path = tmp_path / f"m.{suffix}"
    Image.fromarray(IDS).convert(mode).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert_reads(path, IDS)
    assert not mask_header(path).plain


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_no_ids(tmp_path, channels):
    pixels = np.full((5, 7, channels), 255, "uint8")
    pixels[2, 3, 1] = 254
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: .*colours"):
        read_mask(tmp_path / "m.png")


def test_alpha_may_hide_nothing(tmp_path):
    pixels = np.dstack([IDS, np.where(IDS == 0, 0, 255)]).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert_reads(tmp_path / "m.png", IDS)
    pixels[0, 1, 1] = 0
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: .*transparent"):
        read_mask(tmp_path / "m.png")


def test_colours_of_16_bits_are_refused(tmp_path, png):
    (tmp_path / "m.png").write_bytes(png(np.repeat(IDS[..., None], 3, -1), bits=16))
    refused(tmp_path / "m.png", "16 bits")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_webp_is_refused_whatever_its_name(tmp_path, mode):
    Image.fromarray(IDS).convert(mode).save(tmp_path / "m.png", format="WEBP", quality=100)
    refused(tmp_path / "m.png", "lossy WebP")
    image = Image.fromarray(IDS).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 9))  # alpha makes it a WebP of the extended kind
    image.save(tmp_path / "m.png", format="WEBP", quality=90)
    refused(tmp_path / "m.png", "lossy WebP")


@pytest.mark.parametrize("ids", [(0, 1, 2), (0, 255), (0, 1), (3, 200)])
def test_gif_holds_grey_levels(tmp_path, ids):
    mask = np.resize(ids, (5, 7)).astype("uint8")
    Image.fromarray(mask).save(tmp_path / "m.gif")
    assert_reads(tmp_path / "m.gif", mask)


def test_gif_with_colours_holds_indices(tmp_path):
    image = Image.fromarray(IDS % 3).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "m.gif", optimize=False)
    assert_reads(tmp_path / "m.gif", IDS % 3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "int64"])
@pytest.mark.parametrize("last", [(), (1,)])
def test_npy_holds_ids(tmp_path, dtype, last):
    mask = (IDS % 2 if dtype == "bool" else IDS).astype(dtype)
    np.save(tmp_path / "m.npy", mask.reshape(*mask.shape, *last))
    assert_reads(tmp_path / "m.npy", mask)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 4), "float32"), "float32"),
        (np.zeros((2, 4, 4), "uint8"), r"\(2, 4, 4\)"),
        (np.zeros(4, "uint8"), r"\(4,\)"),
        (np.zeros((0, 4), "uint8"), r"\(0, 4\)"),
        (np.array([[{}]]), r"no sound \.npy"),
    ],
)
def test_npy_of_another_kind_is_refused(tmp_path, array, words):
    np.save(tmp_path / "m.npy", array)
    refused(tmp_path / "m.npy", words)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cut=st.integers(0, 160), place=st.integers(0, 150), value=st.integers(0, 255))
def test_damaged_npy_fails_by_name(tmp_path_factory, cut, place, value):
    path = tmp_path_factory.getbasetemp() / "broken.npy"
    np.save(path, IDS)
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content[:cut])
    for read in (mask_header, read_mask):
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("value", [-1, 70000])
def test_ids_of_an_array_fit_into_16_bits(tmp_path, value):
    np.save(tmp_path / "m.npy", np.array([[0, value]]))
    with pytest.raises(ValueError, match=rf"m\.npy: ids .*{value}"):
        read_mask(tmp_path / "m.npy")


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_tiff_of_64_bits_is_read_by_tifffile(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "m.tif", IDS.astype(dtype))
    assert_reads(tmp_path / "m.tif", IDS)
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((2, 5, 7), dtype), photometric="minisblack")
    refused(tmp_path / "m.tif", "2 pictures in one file; name one by page=")
    tifffile.imwrite(tmp_path / "m.tif", np.zeros((5, 7, 3), dtype), photometric="rgb")
    refused(tmp_path / "m.tif", r"this has \(5, 7, 3\)")


def test_without_tifffile_it_is_named(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "m.tif", IDS.astype("int64"))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused(tmp_path / "m.tif", "install tifffile")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_mask_is_turned_as_its_picture(tmp_path, orientation, mode):
    for kind, pixels in {"images": np.dstack([IDS % 3] * 3), "masks": IDS % 3}.items():
        (tmp_path / kind).mkdir(exist_ok=True)
        for stem in ("a", "b"):
            exif = Image.Exif()
            exif[274] = orientation
            image = Image.fromarray(pixels)
            image = image.convert(mode) if kind == "masks" and mode != "P" else image
            if kind == "masks" and mode == "P":
                image.putpalette([9, 8, 7, 200, 1, 2, 3, 4, 5])
            image.save(tmp_path / kind / f"{stem}.png", exif=exif)
    for picture, mask in from_directory(tmp_path, "train", batch_size=None):
        np.testing.assert_array_equal(picture[..., 0], mask)


@pytest.mark.parametrize("suffix", [".gif", ".npy", ".tif"])
def test_a_folder_of_such_masks_is_read(make_files, suffix):
    root = make_files(["a", "b"], "train", ids=(0, 1, 2))
    expected = []
    for path in sorted((root / "train/masks").iterdir()):
        mask = np.asarray(Image.open(path))
        expected.append(mask)
        np.save(path.with_suffix(suffix), mask) if suffix == ".npy" else Image.open(path).save(
            path.with_suffix(suffix)
        )
        path.unlink()
    found = [mask for _, mask in from_directory(root, batch_size=None, shuffle=False)]
    np.testing.assert_array_equal(found, expected)


def test_masks_of_an_unknown_kind_are_named(make_files):
    root = make_files(["a"], "train")
    (root / "train/masks/a.png").rename(root / "train/masks/a.mat")
    with pytest.raises(ValueError, match=r"no mask \(1 \.mat; .*\.npy, .* are read\)"):
        from_directory(root)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_of_64_bits_turns_as_its_picture(tmp_path, orientation):
    import tifffile

    turned = np.arange(12).reshape(3, 4)
    tifffile.imwrite(tmp_path / "m.tif", turned.astype("int64"), extratags=[(274, "H", 1, orientation, True)])
    Image.fromarray(turned.astype("uint8")).save(tmp_path / "m8.tif", tiffinfo={274: orientation})
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), read_mask(tmp_path / "m8.tif"))
    assert mask_header(tmp_path / "m.tif").size == mask_header(tmp_path / "m8.tif").size


def test_the_page_that_is_read_is_judged(tmp_path):
    first, second = (Image.fromarray(np.full((16, 16), value, "uint8")) for value in (1, 2))
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "m.tif")) as file:
        first.save(file, "TIFF")
        file.newFrame()
        second.save(file, "TIFF", compression="jpeg")
    assert (read_mask(tmp_path / "m.tif", page=0) == 1).all()
    with pytest.raises(ValueError, match=r"m\.tif: .*JPEG"):
        read_mask(tmp_path / "m.tif", page=1)


def test_several_arrays_are_no_mask(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros((3, 4), "uint8"))
    (tmp_path / "m.npz").rename(tmp_path / "m.npy")
    with pytest.raises(ValueError, match=r"m\.npy: holds several arrays"):
        read_mask(tmp_path / "m.npy")
