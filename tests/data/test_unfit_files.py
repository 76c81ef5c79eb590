"""Files that other readers take silently for something else: refused by name, with what was seen."""

import os
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

import kseg
from kseg.data.headers import image_header
from kseg.data.mask_files import mask_header, read_mask
from kseg.data.name_files import read_class_names
from kseg.data.reading import read_image, read_numbers

GREY = np.arange(256, dtype="uint8").reshape(16, 16)


def tiff(pixels, bits=None, photometric=None, extra=None, kind=None, data=None):
    """Return an uncompressed TIFF of `(H, W)` or `(H, W, C)`; `data` are the packed bytes below 8 bits."""
    height, width, bands = *pixels.shape[:2], pixels.size // (pixels.shape[0] * pixels.shape[1])
    bits, data = bits or 8 * pixels.dtype.itemsize, pixels.tobytes() if data is None else data
    photometric = (2 if bands >= 3 else 1) if photometric is None else photometric
    kind = kind or {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    fields = [(256, [width]), (257, [height]), (258, [bits] * bands), (259, [1]), (262, [photometric])]
    fields += [(273, [0]), (277, [bands]), (278, [height]), (279, [len(data)])]
    fields += [(338, extra)] * (extra is not None) + [(339, [kind] * bands)]
    longer = b""
    begin = 8 + 2 + 12 * len(fields) + 4
    entries = []
    for tag, values in fields:
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, longer = struct.pack("<I", begin + len(longer)), longer + packed
        entries.append([tag, len(values), packed])
    entries[5][2] = struct.pack("<I", begin + len(longer))
    body = b"".join(struct.pack("<HHI", tag, 4, count) + packed for tag, count, packed in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + body + bytes(4) + longer + data


def refused(read, path, *words):
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: ") as caught:
        read(path)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "seen"),
    [
        (GREY.astype("float32") / 255, "0–1 in 32-bit floats"),
        (GREY.astype("float32"), "0–255 in 32-bit floats"),
        (GREY.astype("float32") / 127.5 - 1, "-1–1 in 32-bit floats"),
        (GREY.astype("int32"), "0–255 in 32-bit integers"),
        (GREY.astype("int32") * 65537, "in 32-bit integers"),
        (GREY.astype("int16") - 100, "-100–155 in 16-bit signed integers"),
    ],
)
@pytest.mark.parametrize("read", [image_header, read_image])
def test_pictures_of_numbers_without_a_common_range(tmp_path, pixels, seen, read):
    (tmp_path / "a.tif").write_bytes(tiff(pixels))
    refused(read, tmp_path / "a.tif", seen, "bring it to 0–255")


@pytest.mark.parametrize("highest", [255, 1023, 4095, 10000, 16383])
@pytest.mark.parametrize("kind", ["grey PNG", "grey TIFF", "RGB PNG", "RGB TIFF", "RGBA PNG"])
def test_pictures_that_do_not_fill_their_16_bits(tmp_path, png, highest, kind):
    values = np.linspace(0, highest, 256).round().astype("uint16").reshape(16, 16)
    colours = np.repeat(values[..., None], 3, -1)
    path = tmp_path / "a.png"
    if kind.endswith("TIFF"):
        path.write_bytes(tiff(values if kind == "grey TIFF" else colours))
    elif kind == "RGBA PNG":
        rows = np.concatenate([colours, np.full((16, 16, 1), 65535, "uint16")], -1)
        path.write_bytes(_rgba_png(rows))
    else:
        path.write_bytes(png(values if kind == "grey PNG" else colours, bits=16))
    top = highest if kind.startswith("grey") else highest // 256 * 256 + 255
    refused(read_image, path, f"0–{top} in 16 bits")


def _rgba_png(pixels):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 6, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pictures_that_fill_their_16_bits_are_read(tmp_path, png):
    values = GREY.astype("uint16") * 257
    colours = np.repeat(values[..., None], 3, -1)
    for name, content in {
        "grey.png": png(values, bits=16),
        "grey.tif": tiff(values),
        "rgb.png": png(colours, bits=16),
        "rgb.tif": tiff(colours),
        "black.png": png(0 * values, bits=16),
    }.items():
        (tmp_path / name).write_bytes(content)
        expected = 0 if name == "black.png" else np.repeat(GREY[..., None], 3, -1)
        assert (read_image(tmp_path / name) == expected).all(), name


def test_an_opened_picture_is_judged_as_its_file(tmp_path):
    model = kseg.build_conv_stack(2, depth=1, filters=2)
    for pixels in (GREY.astype("float32") / 255, GREY.astype("int32"), GREY.astype("uint16") * 16):
        with pytest.raises(ValueError, match="image: holds 0–"):
            kseg.predict(model, Image.fromarray(pixels))
    assert kseg.predict(model, Image.fromarray(GREY.astype("uint16") * 257)).shape == (16, 16)


@pytest.mark.parametrize(
    ("bands", "photometric", "extra"),
    [
        *[(4, 2, [0]), (4, 2, None), (5, 2, [0, 0]), (5, 2, [2, 0]), (6, 2, [0, 0, 0])],
        *[(2, 1, [0]), (2, 1, None), (5, 1, [0] * 4), (13, 1, [0] * 12)],
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_bands_that_are_neither_colours_nor_alpha_are_kept(tmp_path, bands, photometric, extra, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (8, 8, bands)).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(pixels, photometric=photometric, extra=extra))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif", None), pixels)
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.tif", bands), pixels)
    if dtype == "uint8":
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", None), pixels)
        refused(read_image, tmp_path / "a.tif", f"has {bands} bands", "channels=3")
    else:
        for read in (image_header, read_image):
            refused(read, tmp_path / "a.tif", f"in 16 bits, {bands} bands", "value_range=")
    with pytest.raises(ValueError, match=r"band|channel"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(("bands", "extra"), [(4, [1]), (4, [2]), (2, [2])])
def test_alpha_that_says_so_may_go(tmp_path, bands, extra):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, bands)).astype("uint8")
    pixels[..., -1] = 255
    (tmp_path / "a.tif").write_bytes(tiff(pixels, extra=extra))
    colours = pixels[..., :3] if bands == 4 else np.repeat(pixels[..., :1], 3, -1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colours)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((8, 8), "float64"), ("0–0 in 64-bit floats",)),
        (np.ones((8, 8, 3), "float32"), ("1–1 in 32-bit floats, 3 bands",)),
        (np.zeros((8, 8), "int8"), ("0–0 in 8-bit signed integers",)),
        (np.zeros((8, 8, 3), "int8"), ("8-bit signed integers, 3 bands",)),
    ],
)
def test_tiffs_of_other_numbers_say_what_they_are(tmp_path, pixels, words):
    (tmp_path / "a.tif").write_bytes(tiff(pixels))
    for read in (image_header, read_image):
        refused(read, tmp_path / "a.tif", *words)
    with pytest.raises(ValueError, match=r"a\.tif: "):
        read_mask(tmp_path / "a.tif")


def test_white_as_zero_in_16_bits_is_refused_and_in_8_bits_read(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(GREY.astype("uint16") * 257, photometric=0))
    refused(image_header, tmp_path / "a.tif", "16 bits with 0 for white")
    (tmp_path / "b.tif").write_bytes(tiff(GREY, photometric=0))
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif")[..., 0], 255 - GREY)


@pytest.mark.parametrize("suffix", ["tif", "webp", "png", "gif"])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("read", [image_header, mask_header, read_image, read_mask])
def test_several_pictures_in_one_file(tmp_path, suffix, count, read):
    frames = [Image.fromarray(np.full((16, 16), 40 * index, "uint8")) for index in range(count)]
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused(read, path, f"{count} pictures in one file")


def test_a_smaller_copy_in_a_tiff_is_no_other_picture(tmp_path):
    with TiffImagePlugin.AppendingTiffWriter(str(tmp_path / "a.tif")) as file:
        Image.fromarray(GREY).save(file, "TIFF")
        file.newFrame()
        Image.fromarray(GREY[::2, ::2]).save(file, "TIFF", tiffinfo={254: 1})
    with Image.open(tmp_path / "a.tif") as image:
        assert image.n_frames == 2
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[..., 0], GREY)


def test_a_gif_is_read_whatever_it_is_named(tmp_path):
    """Oxford's pets have some."""
    Image.fromarray(GREY).save(tmp_path / "a.jpg", format="GIF")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", 1)[..., 0], GREY)
    palette = Image.fromarray(GREY % 2, mode="P")
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "b.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "b.gif"), GREY % 2 * 255)


# masks


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_tiff_masks_of_few_bits_hold_their_ids(tmp_path, bits):
    ids = np.random.default_rng(0).integers(0, 2**bits, (8, 16)).astype("uint8")
    places = ids[..., None] >> np.arange(bits)[::-1] & 1
    packed = np.packbits(places.reshape(8, -1).astype("uint8"), axis=1).tobytes()
    (tmp_path / "a.tif").write_bytes(tiff(ids, bits=bits, data=packed))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), ids)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_masks_with_zero_for_white_are_refused(tmp_path, bits):
    ids = np.zeros((8, 16), "uint16" if bits == 16 else "uint8")
    data = None if bits >= 8 else bytes(8 * 16 * bits // 8)
    (tmp_path / "a.tif").write_bytes(tiff(ids, bits=bits, photometric=0, data=data))
    for read in (mask_header, read_mask):
        refused(read, tmp_path / "a.tif", "0 for white")


def test_lossy_compression_inside_a_tiff_mask_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "jpeg.tif", compression="jpeg")
    for read in (mask_header, read_mask):
        refused(read, tmp_path / "jpeg.tif", "JPEG compression")
    assert read_image(tmp_path / "jpeg.tif").shape == (16, 16, 3)
    Image.fromarray(GREY).save(tmp_path / "deflate.tif", compression="tiff_adobe_deflate")
    np.testing.assert_array_equal(read_mask(tmp_path / "deflate.tif"), GREY)


def test_a_data_set_names_the_unfit_file_before_it_trains(make_files):
    root = make_files(["a", "b"], "train", ids=(0, 1))
    path = root / "train/images/a.png"
    path.unlink()
    (root / "train/images/a.tif").write_bytes(tiff(np.ones((12, 16, 5), "uint16"), extra=[0, 0]))
    with pytest.raises(ValueError, match=r"a\.tif: holds 1–1 in 16 bits, 5 bands"):
        kseg.data.from_directory(root)
    report = kseg.data.check(root)
    assert "a.tif: holds 1–1 in 16 bits, 5 bands" in report.problems[0]
    assert "3 in b.png, 5 in a.tif" in report.problems[1]
    assert "value_range=(1, 1)" not in str(report)  # no range


@pytest.mark.parametrize("read", [image_header, mask_header, read_image, read_mask])
def test_what_is_no_file_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    refused(read, tmp_path / "a.png", "is a FIFO, not a file")
    refused(read, tmp_path / "b.png", "is a device, not a file")


def test_a_data_set_with_a_fifo_is_refused_by_name(make_files):
    for kind in ("images", "masks"):
        root = make_files(["a", "b"], "train", ids=(0, 1))
        path = root / "train" / kind / "b.png"
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ValueError, match=r"b\.png: is a FIFO"):
            kseg.data.from_directory(root)
        assert any("b.png: is a FIFO" in problem for problem in kseg.data.check(root).problems)
        path.unlink()
    with pytest.raises(ValueError, match=r"names: is a FIFO"):
        os.mkfifo(root / "names")
        read_class_names(root / "names")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64", "bool"])
def test_masks_of_numpy(tmp_path, dtype):
    ids = (np.arange(12).reshape(3, 4) % 2).astype(dtype)
    for name, array in (("a.npy", ids), ("b.npy", ids[..., None])):
        np.save(tmp_path / name, array)
        assert mask_header(tmp_path / name).size == (3, 4)
        mask = read_mask(tmp_path / name)
        assert mask.dtype == np.int32
        np.testing.assert_array_equal(mask, ids)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4)), "integer class ids, this float64"),
        (np.zeros((3, 4, 2), "uint8"), r"this has \(3, 4, 2\)"),
        (np.zeros((0, 4), "uint8"), r"this has \(0, 4\)"),
        (np.full((3, 4), -1), "ids -1 to -1 are not within"),
        (np.full((3, 4), 2**16), "ids 65536 to 65536 are not within"),
        (np.array([[{}]]), "is no sound .npy file"),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else value[:12],
)
def test_arrays_that_are_no_masks(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{words}"):
        read_mask(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"no array"])
def test_damaged_arrays(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    for read in (mask_header, read_mask):
        refused(read, tmp_path / "a.npy", "is no sound .npy file")
