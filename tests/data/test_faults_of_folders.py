"""What is wrong with folders, row by row: it is named with its mend, or read right, and stays as it was.

A20, what vanishes while it is read, is held by `test_changing_files.py`, and there too that the state of a
training stays; A25 and A26, data sets of TFDS that are not there or hold ids from 1 on, by `test_tfds.py`.
"""

import errno
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from fault_folders import (
    CORNERS,
    HEIC,
    HTML,
    LFS,
    NAMES,
    SPLIT_FILE,
    animated,
    as_jpeg,
    bomb,
    corner,
    flipped,
    in_both,
    kinds,
    linked,
    lists,
    loops,
    moved,
    no_numbers,
    odd_names,
    renamed,
    replaced,
    suffixed,
    turned,
    two_sizes,
    without,
    zeroed,
)
from fault_rows import SIZE, Row, checked, digest, mask, picture, read, sound, try_row
from PIL import Image

import kseg
from kseg import disk

ROWS = [
    Row("A1", without("masks"), ("images: ", "without a mask", "1 (c.png)", "train/masks/c.*", "add what")),
    Row("A2", without("images"), ("masks: ", "without a picture", "1 (c.png)", "move them away")),
    Row(
        "A2 a whole split",
        lambda root: shutil.rmtree(sound(root) / "images") or (sound(root, "cd", "val") and None),
        check=("train/masks: 2 masks without pictures",),
    ),
    Row("A3 masks", renamed(masks="{}_mask"), ("a.png", "a_mask.png", "masks='{split}/masks/**/*_mask.*'")),
    Row("A3 images", renamed(images="{}_img"), ("a_img.png", "images='{split}/images/**/*_img.*'")),
    Row(
        "A3 both",
        renamed(images="img_{}", masks="{}-seg"),
        ("images='{split}/images/**/img_*'", "masks='{split}/masks/**/*-seg.*'"),
    ),
    Row("A4", lambda root: picture(sound(root) / "images/a.jpg"), ("a.png", "a.jpg", "remove one")),
    Row("A4 case", lambda root: picture(sound(root) / "images/a.PNG"), ("a.png", "a.PNG", "remove one")),
    Row(
        "A5", lambda root: [p.unlink() for p in (sound(root) / "images").iterdir()] and None, ("no pictures",)
    ),
    Row("A5 suffix", suffixed("images", ".heic"), ("no pictures", "2 .heic", "save them as JPEG or PNG")),
    Row("A5 masks", suffixed("masks", ".mat"), ("no mask", "2 .mat", ".png")),
    Row("A5 nothing", lambda root: None, ("neither train/images nor images", "images= and masks=")),
    Row(
        "A5 pictures alone",
        lambda root: picture(root / "a.jpg"),
        ("neither train/images nor images", "1 .jpg", "images= and masks="),
    ),
    Row("A6", lambda root: sound(root) and root.with_name("dat"), ("no such folder", "did you mean 'data'?")),
    Row("A6 file", lambda root: sound(root) / "images/a.png", ("is a file, not a folder",)),
    Row("A6 masks", moved("train/masks", "train/mask"), ("masks: no such folder", "did you mean 'mask'?")),
    Row(
        "A6 images",
        moved("train/images", "train/image"),
        ("neither train/images", "train holds image/, masks/"),
    ),
    Row("A7", lambda root: mask(sound(root) / "masks/a.png", size=(16, 12)), ("12×16", "a.png has 16×12")),
    Row("A8", two_sizes, reads=lambda pairs: [i.shape[:2] for i, _ in pairs] == [(9, 9), SIZE]),
    Row("A9", replaced("images", b""), ("images/a.png: ", "0 bytes", "restore or remove")),
    Row("A9 mask", replaced("masks", b""), ("masks/a.png: ", "0 bytes", "restore or remove")),
    Row("A10", as_jpeg(lambda content: content[: len(content) // 2]), ("a.jpg: ", "cut short", "restore")),
    Row("A10 end", as_jpeg(lambda content: content[:-2]), ("a.jpg: ", "without its end", "restore")),
    Row(
        "A10 mask", replaced("masks", lambda content: content[:-20]), ("masks/a.png: ", "its end is missing")
    ),
    Row("A11 PNG", replaced("images", flipped), ("images/a.png: ", "damaged", "checksum", "restore")),
    Row("A11 mask", replaced("masks", flipped), ("masks/a.png: ", "damaged", "checksum", "restore")),
    Row("A11 JPEG", as_jpeg(zeroed), ("a.jpg: ", "damaged", "Corrupt JPEG data", "restore")),
    Row(
        "A12",
        replaced("images", lambda content: content, "a.jpg"),
        check=("1 pictures are of another format than their names say", "a.jpg is PNG"),
        reads=lambda pairs: len(pairs) == 2,
    ),
    Row("A13", replaced("images", HTML), ("images/a.png: ", "is text", "'<!DOCTYPE html>", "download")),
    Row("A13 LFS", replaced("masks", LFS), ("masks/a.png: ", "is text", "git-lfs", "download")),
    Row("A13 empty JSON", replaced("images", b"{}", "a.jpg"), ("images/a.jpg: ", "is text", "'{}'")),
    Row("A14", replaced("images", HEIC), ("images/a.png: ", "is HEIC", "JPEG or PNG")),
    Row("A14 beside", suffixed("images", ".heic", "a"), ("a.heic is there", "JPEG or PNG")),
    Row("A14 raw", suffixed("images", ".dng", "a"), ("a.dng is there", "JPEG or PNG")),
    Row("A14 else", replaced("images", b"\x1bLua" + bytes(80)), ("images/a.png: ", "use JPEG or PNG")),
    Row("A15", animated("gif"), ("a.gif: ", "3 pictures in one file", "page=")),
    Row("A15 WebP", animated("webp"), ("a.webp: ", "3 pictures in one file", "page=")),
    *(Row(f"A16 {o}", turned(o), reads=corner(*place)) for o, place in CORNERS.items()),
    Row(
        "A16 mask",
        as_jpeg(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
        ("48×64",),
    ),
    Row("A17 grey", kinds, check=("1 pictures are grey", "a.png", "three equal channels")),
    Row("A17 alpha", kinds, check=("1 pictures have an alpha channel", "b.png", "left out")),
    Row("A17 CMYK", kinds, check=("1 pictures are CMYK", "c.jpg"), reads=lambda pairs: len(pairs) == 4),
    Row("A18", odd_names, reads=lambda pairs: len(pairs) == 1 + len(NAMES)),
    Row("A19", loops, reads=lambda pairs: len(pairs) == 2),
    Row("A19 dangling", linked("images", "/nowhere/a.png"), ("images/a.png: ", "no such file")),
    Row("A19 dangling mask", linked("masks", "/nowhere/a.png"), ("masks/a.png: ", "no such file")),
    Row("A19 itself", linked("images", "a.png"), ("images/a.png: ", "symbolic links")),
    Row("A19 itself, mask", linked("masks", "a.png"), ("masks/a.png: ", "symbolic links")),
    Row("A21", replaced("images", bomb(20000)), ("images/a.png: ", "89,000,000 pixels", "tiles")),
    Row("A21 mask", replaced("masks", bomb(20000)), ("masks/a.png: ", "89,000,000 pixels", "tiles")),
    Row(
        "A22",
        no_numbers,
        ("b.npy: ", "2 pixels are NaN or infinite", "fill them"),
        options={"value_range": (0, 1)},
    ),
    Row("A23", in_both, check=("4 pictures of 'val' are in 'train' too", "za.png, zb.png, zc.png")),
    Row("A24", lists("a\nb\nzz\n\nyy\n"), ("train.txt: ", "line 3 'zz', line 5 'yy'"), options=SPLIT_FILE),
    Row("A24 twice", lists("a\nb\na\n"), ("train.txt: ", "twice: lines 1 and 3"), options=SPLIT_FILE),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row, tmp_path):
    try_row(row, tmp_path)


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (renamed(masks="{}_mask"), {"masks": "{split}/masks/**/*_mask.*"}),
        (renamed(images="{}_img"), {"images": "{split}/images/**/*_img.*"}),
        (
            renamed(images="img_{}", masks="{}-seg"),
            {"images": "{split}/images/**/img_*", "masks": "{split}/masks/**/*-seg.*"},
        ),
    ],
)
def test_a3_what_is_suggested_pairs_them(tmp_path, files, options):
    files(tmp_path)
    assert len(read(tmp_path, options)) == 2


@pytest.mark.parametrize(("images", "masks"), [("a", "b"), ("ab", "cd")])
def test_a3_names_that_have_nothing_in_common_suggest_no_pattern(tmp_path, images, masks):
    for stem, other in zip(images, masks, strict=True):
        picture(tmp_path / f"train/images/{stem}.png")
        mask(tmp_path / f"train/masks/{other}.png")
    (problem,), _ = checked(tmp_path, {})
    assert "no picture shares its stem" in problem and "or say" not in problem


def test_a8_pictures_of_several_sizes_need_a_size(tmp_path):
    two_sizes(tmp_path)
    with pytest.raises(ValueError, match="2 sizes cannot share a batch; give image_size, augment"):
        kseg.data.from_directory(tmp_path)


@pytest.mark.parametrize(
    ("name", "shown"), [(b"caf\xe9", r"caf\udce9.png: "), (b"line\nbreak", r"line\nbreak.png: ")]
)
def test_a18_names_are_printed_escaped(tmp_path, name, shown):
    odd_names(tmp_path)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/images/" + name + b".png")).write_bytes(b"")
    before = digest(tmp_path)
    (problem,), _ = checked(tmp_path, {})
    assert shown in problem and problem.isprintable()
    assert digest(tmp_path) == before


@pytest.mark.parametrize("target", ["/nowhere/a.png", "a.png"])
def test_a19_every_dangling_link_is_reported(tmp_path, target):
    linked("masks", target)(tmp_path)
    picture(tmp_path / "train/images/c.png")
    (tmp_path / "train/masks/c.png").symlink_to(target)
    problems = kseg.data.check(tmp_path).problems
    assert [Path(problem.split(": ")[0]).name for problem in problems] == ["a.png", "c.png"]


def test_a22_numbers_that_are_none_suggest_no_range(tmp_path):
    no_numbers(tmp_path)
    report = kseg.data.check(tmp_path)
    assert any("b.npy: 2 pixels are NaN or infinite" in problem for problem in report.problems)
    assert "inf" not in " ".join(report.suggestions)


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("failures", [2, 1000])
def test_a28_what_a_network_drive_fails_at_is_tried_anew(tmp_path, monkeypatch, kind, code, failures):
    path = sound(tmp_path) / kind / "a.png"
    before, expected = digest(tmp_path), read(tmp_path, {})
    left = [failures]
    read_bytes = Path.read_bytes

    def fails(self):
        if self == path and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", fails)
    monkeypatch.setattr(disk, "_PAUSE", 0)
    if failures == 2:
        for found, pair in zip(read(tmp_path, {}), expected, strict=True):
            np.testing.assert_array_equal(found[0], pair[0])
            np.testing.assert_array_equal(found[1], pair[1])
    else:
        words = f"{kind}/a.png: cannot be read ({os.strerror(code)})"
        with pytest.raises(tf.errors.OpError, match=re.escape(words)):
            read(tmp_path, {"class_names": ["a", "b"]})
        (problem,), _ = checked(tmp_path, {"class_names": ["a", "b"]})
        assert words in problem
    monkeypatch.undo()
    assert digest(tmp_path) == before


def test_a27_a_cache_is_never_stale(tmp_path):
    root, cache = tmp_path / "data", tmp_path / "cache"
    train = sound(root)
    first = read(root, {"cache": cache})
    Image.fromarray(255 - first[0][0]).save(train / "images/a.png")
    mask(train / "masks/b.png", (1, 0))
    before = digest(root)
    image, ids = read(root, {"cache": cache})[0][0], read(root, {"cache": cache})[1][1]
    np.testing.assert_array_equal(image, 255 - first[0][0])
    np.testing.assert_array_equal(ids, 1 - first[1][1])
    np.testing.assert_array_equal(
        read(root, {"cache": cache, "label_map": {0: 1, 1: 0}})[0][1], 1 - first[0][1]
    )
    assert digest(root) == before
