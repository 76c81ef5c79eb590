"""Damage inside pictures that decoders repair silently."""

import io
import random
import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.data.damage import damage_in
from kseg.data.mask_files import read_mask
from kseg.data.reading import read_image

KINDS = [{}, {"progressive": True}, {"optimize": True}, {"quality": 95, "subsampling": 0}, {"grey": True}]


def encoded(kind, pixels=None, picture_format="JPEG"):
    if pixels is None:
        y, x = np.mgrid[:240, :320]
        noise = np.random.default_rng(0).normal(0, 6, (240, 320))
        waves = 128 + 60 * np.sin(x / 17) + 50 * np.cos(y / 23) + noise
        pixels = np.clip(np.stack([waves, 0.8 * waves + 20, 255 - waves], -1), 0, 255).astype("uint8")
    options, file = dict(kind), io.BytesIO()
    image = Image.fromarray(pixels).convert("L" if options.pop("grey", False) else "RGB")
    image.save(file, picture_format, **options)
    return file.getvalue()


def holes(content, size, count=12):
    """Yield copies of a file with `size` zero bytes somewhere in its pixels."""
    draw, start = random.Random(size), content.index(b"\xff\xda") + 20
    for _ in range(count):
        place = draw.randrange(start, len(content) - size - 2)
        yield content[:place] + bytes(size) + content[place + size :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [512, 4096])
def test_zeroed_sectors_are_found(kind, size):
    sound = encoded(kind)
    assert damage_in(sound) is None
    assert all(damage_in(damaged) for damaged in holes(sound, size))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
def test_the_end_of_another_picture_is_found(kind):
    sound = encoded(kind)
    # of progressive pictures the end is finer detail, which fits any other
    start, half = sound.index(b"\xff\xda") + 20, len(sound) // 2
    other = encoded(kind, np.random.default_rng(1).integers(0, 256, (240, 320, 3)).astype("uint8"))
    for length in (2000, 5000):
        assert damage_in(sound[:half] + other[-length:])
        assert damage_in(sound[:start] + sound[start + length :])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surface", ["black", "white", "grey", "checked", "steps"])
def test_plain_pictures_have_no_damage_although_they_hold_zeros(kind, surface):
    y, x = np.mgrid[:512, :512]
    value = {"black": 0 * x, "white": 255 + 0 * x, "grey": 127 + 0 * x, "checked": 255 * ((x + y) % 2)}
    pixels = value.get(surface, y // 32 * 16)
    content = encoded(kind, np.repeat(pixels[..., None], 3, -1).astype("uint8"))
    assert damage_in(content) is None


def test_plain_surfaces_may_be_zeros_for_long():
    content = encoded({"grey": True, "optimize": True}, np.full((2048, 2048, 3), 128, "uint8"))
    assert bytes(200) in content and damage_in(content) is None


@pytest.mark.parametrize("layout", ["whole", "beside", "alternating"])
def test_progressive_textures_may_be_zeros_for_long(layout):
    """A block of one negative coefficient at the end of its band is zeros, and the texture repeats it."""
    wave = np.cos((2 * np.arange(8) + 1) * 2 * np.pi / 16)  # of the last coefficient of the first band
    found = 0
    for strength in range(3, 24, 4):
        texture = 128 - np.round(strength * wave)
        first = np.tile(texture, (512, 64))
        second = np.tile(256 - texture, (512, 64))
        rows = np.arange(512)[:, None]
        first = np.where(rows < 256, first, second) if layout == "beside" else first
        first = np.where(rows // 128 % 2, first, second) if layout == "alternating" else first
        pixels = np.repeat(np.clip(first, 0, 255)[..., None], 3, -1).astype("uint8")
        content = encoded({"grey": True, "progressive": True}, pixels)
        found += bytes(64) in content
        assert damage_in(content) is None
        content = encoded({"grey": True, "progressive": True}, pixels.swapaxes(0, 1))
        found += bytes(64) in content
        assert damage_in(content) is None
    assert found


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_random_textures_have_no_damage(quality):
    rng = np.random.default_rng(quality)
    for size in (256, 512):
        for _ in range(40):
            tile = rng.integers(0, 256, (8, 8, 1)).astype("uint8")
            pixels = np.tile(tile, (size // 8, size // 8, 3))
            for options in ({"progressive": True}, {"optimize": True}):
                content = encoded({"grey": True, "quality": quality, **options}, pixels)
                assert damage_in(content) is None


def test_restarts_thumbnails_and_padding_are_no_damage():
    picture = Image.open(io.BytesIO(encoded({})))
    for options in ({"restart_marker_blocks": 4}, {"exif": b"Exif\0\0" + encoded({})[:3000]}):
        file = io.BytesIO()
        picture.save(file, "JPEG", **options)
        assert damage_in(file.getvalue()) is None
    content = encoded({})
    assert damage_in(content[:-2] + bytes(4) + b"\xff\xd9") is None  # as some cameras write
    assert damage_in(content + bytes(4096)) is None  # behind its end


def test_cmyk_is_read(tmp_path):
    Image.new("CMYK", (64, 64), (10, 20, 30, 0)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (64, 64, 3)


def test_a_picture_with_a_hole_is_named(make_files):
    root = make_files(["a", "b"], "train", size=(240, 320), ids=(0, 1))
    (root / "train/images/a.png").unlink()
    path = root / "train/images/a.jpg"
    path.write_bytes(next(holes(encoded({}), 512)))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: is damaged .*restore or remove"):
        read_image(path)
    (problem,) = kseg.data.check(root).problems
    assert problem.startswith(f"{path}: is damaged")


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_flipped_bit_in_a_png_is_found(tmp_path, read, place):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64)).astype("uint8")).save(path)
    content = bytearray(path.read_bytes())
    start, end = content.index(b"IDAT") + 4, content.index(b"IEND") - 8
    content[start + int(place * (end - start))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: .*damaged"):
        read(path)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(packed, size=(48, 40), bits=8, colour=2, interlaced=0, pieces=1):
    """Return a PNG whose checksums are right, whatever its pixels are."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, interlaced))
    step = max(1, -(-len(packed) // pieces))
    parts = [chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step)]
    palette = chunk(b"PLTE", bytes(3 * 2**bits)) if colour == 3 else b""
    return b"\x89PNG\r\n\x1a\n" + head + palette + b"".join(parts) + chunk(b"IEND", b"")


def bytes_of(size, bits, colour, interlaced):
    """Return how many bytes the filtered rows have, pass by pass as the pixels are numbered in PNG."""
    passes = ["1" * 64]
    if interlaced:
        adam7 = "1646264677777777565656567777777736463646777777775656565677777777"
        passes = ["".join("1" if place == number else "0" for place in adam7) for number in "1234567"]
    samples, total = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour], 0
    for each in passes:
        taken = np.reshape([int(place) for place in each], (8, 8))
        grid = np.tile(taken, (-(-size[1] // 8), -(-size[0] // 8)))[: size[1], : size[0]]
        widths = [int(row.sum()) for row in grid if row.any()]
        total += sum(1 + -(-width * bits * samples // 8) for width in widths)
    return total


KINDS_OF_PNG = [
    *((bits, 0) for bits in (1, 2, 4, 8, 16)),
    *((bits, 3) for bits in (1, 2, 4, 8)),
    *((bits, colour) for bits in (8, 16) for colour in (2, 4, 6)),
]


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize(("bits", "colour"), KINDS_OF_PNG)
def test_a_png_of_too_few_rows_is_found(bits, colour, interlaced):
    for size in ((48, 40), (1, 1), (3, 9), (7, 2)):
        kind = {"size": size, "bits": bits, "colour": colour, "interlaced": interlaced}
        length = bytes_of(size, bits, colour, interlaced)
        whole = png_of(zlib.compress(bytes(length)), **kind)
        assert Image.open(io.BytesIO(whole)).convert("RGBA").size == size
        assert damage_in(whole) is None
        assert "bytes of pixels" in damage_in(png_of(zlib.compress(bytes(length - 1)), **kind))


def test_what_follows_the_pixels_of_a_png_is_no_damage():
    rows = np.random.default_rng(0).bytes(145 * 43)
    for pieces in (1, 2, 7, 3000):
        assert damage_in(png_of(zlib.compress(rows[: 145 * 40]), pieces=pieces)) is None
        assert damage_in(png_of(zlib.compress(rows), pieces=pieces)) is None
        assert damage_in(png_of(zlib.compress(rows[: 145 * 40]) + b"more", pieces=pieces)) is None


@pytest.mark.parametrize("pieces", [1, 5])
def test_the_checksum_of_all_pixels_of_a_png_is_looked_at(pieces):
    packed = zlib.compress(np.random.default_rng(0).bytes(145 * 40))
    for damaged in (packed[:-1] + bytes([packed[-1] ^ 1]), packed[:-4], packed[:-1], b"\0" + packed, b"\1"):
        assert "pixels" in damage_in(png_of(damaged, pieces=pieces))
    assert "pixels" in damage_in(png_of(b""))


def test_the_pixels_of_a_png_are_not_unpacked_without_end():
    content = png_of(zlib.compress(bytes(2**28)))
    tracemalloc.start()
    assert damage_in(content) is None
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("fault", ["rows", "checksum"])
def test_training_names_a_png_whose_pixels_are_not_all_there(make_files, kind, fault):
    root = make_files(["a", "b"], "train", size=(40, 48), ids=(0, 1))
    row = 1 + 48 * (3 if kind == "images" else 1)
    packed = zlib.compress(bytes(row * (5 if fault == "rows" else 40)))
    path = root / f"train/{kind}/a.png"
    for old in path.parent.glob("a.*"):
        old.unlink()
    changed = packed if fault == "rows" else packed[:-1] + bytes([packed[-1] ^ 1])
    path.write_bytes(png_of(changed, colour=2 if kind == "images" else 0))
    (problem,) = kseg.data.check(root).problems
    assert problem.startswith(f"{path}: is damaged") and problem.endswith("restore or remove it")
    with pytest.raises(Exception, match=rf"{re.escape(str(path))}: is damaged .*restore or remove"):
        list(kseg.data.from_directory(root, "train", class_names=["a", "b"]))


def test_nothing_is_asked_of_other_formats_and_of_pieces():
    for picture_format in ("BMP", "TIFF", "WEBP"):
        assert damage_in(encoded({}, picture_format=picture_format)) is None
    for content in (
        b"",
        b"\xff\xd8\xff",
        encoded({})[:200],
        encoded({})[:700],
        encoded({}, None, "PNG")[:40],
        b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""),
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"") + chunk(b"IEND", b""),
    ):
        damage_in(content)  # says what it says, and ends
