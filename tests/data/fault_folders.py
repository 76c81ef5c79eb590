"""Folders with one fault each, for the table of `test_faults_of_folders.py`."""

import os
import shutil
import struct
import zlib

import numpy as np
from fault_rows import SIZE, mask, picture, sound
from PIL import Image


def without(kind):
    return lambda root: (sound(root, "abc") / kind / "c.png").unlink()


def renamed(*, images="{}", masks="{}"):
    """Return what writes pairs and renames their files."""

    def make(root):
        train = sound(root)
        for kind, name in (("images", images), ("masks", masks)):
            for path in list((train / kind).iterdir()):
                path.rename(path.with_name(name.format(path.stem) + ".png"))

    return make


def suffixed(kind, suffix, stems="ab"):
    """Return what writes pairs and gives files another suffix."""

    def make(root):
        train = sound(root)
        for stem in stems:
            path = train / kind / f"{stem}.png"
            path.rename(path.with_suffix(suffix))

    return make


def two_sizes(root):
    train = sound(root)
    picture(train / "images/a.png", (9, 9))
    mask(train / "masks/a.png", size=(9, 9))


def replaced(kind, content, name="a.png"):
    """Return what writes pairs and puts other bytes, or what a function makes of it, in the place of one."""

    def make(root):
        train = sound(root)
        path = train / kind / "a.png"
        before = path.read_bytes()
        path.unlink()
        path = path.with_name(name)
        path.write_bytes(content(before) if callable(content) else content)

    return make


def as_jpeg(change=lambda content: content, **options):
    """Return what writes pairs of which one picture is a JPEG, whose bytes a function changes."""

    def make(root):
        train = sound(root)
        (train / "images/a.png").unlink()
        picture(train / "images/a.jpg", (48, 64), quality=95, **options)
        mask(train / "masks/a.png", size=(48, 64))
        content = (train / "images/a.jpg").read_bytes()
        (train / "images/a.jpg").write_bytes(change(content))

    return make


def zeroed(content):
    return content[: len(content) // 2] + bytes(40) + content[len(content) // 2 + 40 :]


def flipped(content):
    place = content.index(b"IDAT") + 20
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def bomb(side):
    """Return a PNG of one bit a pixel, whose pixels would take `side²` bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def animated(suffix):
    def make(root):
        train = sound(root)
        (train / "images/a.png").unlink()
        frames = [Image.fromarray(np.full((*SIZE, 3), 60 * i, "uint8")) for i in range(3)]
        frames[0].save(train / f"images/a.{suffix}", save_all=True, append_images=frames[1:])

    return make


def turned(orientation):
    def make(root):
        train = sound(root, "a")
        (train / "images/a.png").unlink()
        exif = Image.Exif()
        exif[274] = orientation
        pixels = np.zeros((*SIZE, 3), "uint8")
        pixels[0, 0] = 200  # the corner that tells how it was turned
        Image.fromarray(pixels).save(train / "images/a.png", exif=exif)
        mask(train / "masks/a.png", size=SIZE if orientation < 5 else SIZE[::-1])

    return make


def corner(row, column):
    return lambda pairs: (pairs[0][0][row, column] == 200).all() and pairs[0][0].max(-1).sum() == 200


CORNERS = {2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


def kinds(root):
    """Write a grey picture, one with alpha, one of CMYK and one that has them all right."""
    images = sound(root, "abcd") / "images"
    image = Image.open(images / "a.png")
    image.convert("L").save(images / "a.png")
    image.putalpha(Image.fromarray(np.resize(np.arange(192, dtype="uint8"), SIZE)))
    image.save(images / "b.png")
    image.convert("CMYK").save(images / "c.jpg")
    (images / "c.png").unlink()


NAMES = (b"caf\xe9", b"line\nbreak", b"img[1]", b"two words", b"*", b"{split}", b"%41#?", "ü".encode())


def odd_names(root):
    train = os.fsencode(sound(root, "a"))
    for kind in (b"images", b"masks"):
        for name in NAMES:
            shutil.copy(train + b"/" + kind + b"/a.png", train + b"/" + kind + b"/" + name + b".png")


def linked(kind, target, name="a.png"):
    def make(root):
        path = sound(root) / kind / name
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return make


def loops(root):
    for kind in ("images", "masks"):
        (root / "train" / kind / "inner").mkdir(parents=True)
        (root / "train" / kind / "inner/again").symlink_to("..")
    sound(root)


def no_numbers(root):
    train = sound(root)
    for stem in "ab":
        (train / f"images/{stem}.png").unlink()
        pixels = np.random.default_rng(0).random((*SIZE, 3)).astype("float32")
        if stem == "b":
            pixels[3, 4, 1], pixels[0, 0, 0] = np.nan, np.inf
        np.save(train / f"images/{stem}.npy", pixels)


def in_both(root):
    train, val = sound(root, "abcd"), sound(root, "ef", "val")
    for stem in "abcd":
        for kind in ("images", "masks"):
            shutil.copy(train / kind / f"{stem}.png", val / kind / f"z{stem}.png")


def lists(train):
    def make(root):
        sound(root, "abc", ".")
        (root / "train.txt").write_text(train)
        (root / "val.txt").write_text("c\n")

    return make


def moved(source, target):
    def make(root):
        sound(root)
        (root / source).rename(root / target)

    return make


SPLIT_FILE = {"split_file": "{split}.txt"}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(80)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"
HTML = b"\n <!DOCTYPE html><html><body>Not found"
