"""The catalogue of faults of folders and masks: each is named with its mend, nothing of the user's changes.

A file that vanishes or is damaged while it is read stands in test_changing_files.py, data sets of TFDS that
are not there in test_tfds.py, a stale cache in test_caching.py, one-hot void and weights in tests/metrics and
tests/losses, void of augmentations in test_geometry.py.
"""

import hashlib
import io
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.data import check, from_directory

NAMES = ["road", "car", "sky"]
DAMAGED = (ValueError, FileNotFoundError, tf.errors.OpError)


def picture(root, name, size=(12, 16)):
    return root / "train/images" / name


def mask(root, name="b.png"):
    return root / "train/masks" / name


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels)).save(path, **options)


def as_jpeg(pixels, quality=90):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype="uint8")
IDS = np.resize(np.array([0, 1, 2, 255], "uint8"), (12, 16))


def no_mask(root):
    mask(root).unlink()


def no_picture(root):
    picture(root, "b.png").unlink()


def other_stems(root):
    for path in list((root / "train/masks").iterdir()):
        path.rename(path.with_name(f"{path.stem}_mask.png"))


def two_of_one_stem(root):
    shutil.copy(picture(root, "b.png"), picture(root, "b.bmp"))


def no_kind_that_is_read(root):
    for path in list((root / "train/images").iterdir()):
        path.rename(path.with_suffix(".heic"))


def turned(root):
    save(picture(root, "b.png"), NOISE.swapaxes(0, 1))


def of_two_sizes(root):
    save(picture(root, "b.png"), NOISE[:8])
    save(mask(root), IDS[:8])


def nothing_in_it(root):
    picture(root, "b.png").write_bytes(b"")


def cut_short(root):
    picture(root, "b.png").write_bytes(as_jpeg(NOISE)[:-40])


def flipped_bit(root):
    content = bytearray(picture(root, "b.png").read_bytes())
    content[len(content) // 2] ^= 4
    picture(root, "b.png").write_bytes(bytes(content))


def a_page_of_html(root):
    picture(root, "b.png").write_text("<html><body>Sign in</body></html>")


def several_frames(root):
    frames = [Image.fromarray(NOISE), Image.fromarray(NOISE[::-1].copy())]
    frames[0].save(picture(root, "b.png"), "GIF", save_all=True, append_images=frames[1:])


def dangling(root):
    picture(root, "b.png").unlink()
    picture(root, "b.png").symlink_to(root / "nowhere.png")


def too_large(root):
    Image.new("1", (20000, 20000)).save(picture(root, "b.png"))


def not_finite(root):
    pixels = NOISE.astype("float32")
    pixels[3, 4] = np.nan
    picture(root, "b.png").unlink()
    np.save(picture(root, "b.npy"), pixels)


def in_both_splits(root):
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
        shutil.copy(root / "train" / kind / "b.png", root / "val" / kind / "b.png")


def a_list_of_others(root):
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("a\nnobody\nb\nb\n")


def in_colours(root):
    save(mask(root), np.eye(3, dtype="uint8")[IDS % 3] * 128)


def in_jpeg(root):
    mask(root).write_bytes(as_jpeg(IDS))


def black_and_white(root):
    for path in (root / "train/masks").iterdir():
        save(path, np.where(IDS == 1, 255, 0).astype("uint8"))


def a_class_too_many(root):
    save(mask(root), np.where(IDS == 1, 7, IDS))


def deep_ids(root):
    save(mask(root), np.where(IDS == 1, 300, 0).astype("uint16"))


def void_alone(root):
    save(mask(root), np.full_like(IDS, 255))


def background_alone(root):
    for path in (root / "train/masks").iterdir():
        save(path, np.zeros_like(IDS))


def never_a_sky(root):
    for path in (root / "train/masks").iterdir():
        save(path, IDS % 2)


def in_floats(root):
    mask(root).unlink()
    Image.fromarray((IDS / 255).astype("float32")).save(mask(root, "b.tif"))


def resized(root):
    ids = np.where(np.arange(160) < 80, 0, 100).astype("uint8")
    ids[70:90] = np.arange(20) * 5  # a soft edge
    for path in (root / "train/masks").iterdir():
        save(path, np.tile(ids, (120, 1)))
    for path in (root / "train/images").iterdir():
        save(path, np.resize(NOISE, (120, 160, 3)))


# id of the row → what is done, words that a user sees, arguments; of `check` unless the row says otherwise
ERRORS = {
    "A1": (no_mask, "pictures without a mask in .*masks: 1 \\(b\\.png\\); expected train/masks/b\\.\\*", {}),
    "A2": (no_picture, "masks without a picture in .*images: 1 \\(b\\.png\\)", {}),
    "A3": (other_stems, "no picture shares its stem.*say masks='.*\\*_mask\\.\\*'", {}),
    "A4": (two_of_one_stem, "b\\.png: b\\.bmp has the same stem; remove one", {}),
    "A5": (no_kind_that_is_read, "images: no pictures \\(.*\\.png.*\\) in this folder", {}),
    "A7": (turned, "b\\.png: 16×12 pixels, but b\\.png has 12×16", {}),
    "A9": (nothing_in_it, "b\\.png: the file is empty \\(0 bytes\\)", {}),
    "A10": (cut_short, "b\\.png: the file is cut short", {}),
    "A11": (flipped_bit, "b\\.png: (is damaged|the picture is damaged)", {}),
    "A13": (a_page_of_html, "b\\.png: cannot be read as a picture", {}),
    "A15": (several_frames, "b\\.png: 2 pictures in one file; name one by page=, 0 to 1", {}),
    "A19": (dangling, "b\\.png: no such file", {}),
    "A21": (too_large, "b\\.png: has more than 89,000,000 pixels", {}),
    "A22": (not_finite, "b\\.npy: 1 pixels are NaN or infinite", {"value_range": (0, 255)}),
    "A24": (a_list_of_others, "train\\.txt: names pictures that are not there: line 2 'nobody'",
            {"split_file": "lists/{split}.txt", "layout": "kseg"}),
    "B2": (in_colours, "b\\.png: is a mask of 3 colours, #.*by colors=", {}),
    "B2 colour": (in_colours, "a\\.png: 4 colours are none of colors=: #.* pixels, as at x=\\d+, y=\\d+",
                  {"colors": {"road": (128, 0, 0)}}),
    "B6": (in_jpeg, "b\\.png: a JPEG mask has wrong ids along every border; save masks as PNG", {}),
    "B7": (black_and_white, "class 0 and void \\(255\\) alone, .*label_map=\\{255: 1\\}", {}),
    "B8": (a_class_too_many, "b\\.png: class ids \\[7\\] outside 0\\.\\.2 \\(void is 255\\)", {}),
    "B5": (deep_ids, "b\\.png: class ids \\[300\\] outside 0\\.\\.2", {}),
    "B13": (in_floats, "b\\.tif: .*floats", {}),
    "B14": (resized, "soft edges as interpolation makes them; resize masks with nearest", {}),
    "B18": (lambda root: None, "ignore_class=1 is one of the 3 classes; give void", {"ignore_class": 1}),
}  # fmt: skip
OF_THE_CHECK = ("B7",)  # a split may well hold the background alone
WARNINGS = {
    "A23": (in_both_splits, "1 pictures of 'val' are in 'train' too: b\\.png"),
    "B10": (void_alone, "1 of 3 masks are void alone: b\\.png"),
    "B11": (background_alone, "3 of 3 masks hold 'road' alone"),
    "B12": (never_a_sky, "no mask has a pixel of 'sky'"),
}


@pytest.fixture
def root(make_files):
    return make_files("abc", "train")


def state_of(root):
    """Return all files with what is in them and when they were written."""
    paths = sorted(path for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]
    return [(path, path.lstat().st_mtime_ns, d) for path, d in zip(paths, digests, strict=True)]


def seen(root, **options):
    """Return what a user is told by the check and by a data set, whichever of them stops."""
    lines = []
    try:
        lines += check(root, **options).problems
    except DAMAGED as error:
        lines.append(str(error))
    try:
        for _ in from_directory(root, batch_size=1, **options):
            pass
    except DAMAGED as error:
        lines.append(str(error))
    return lines


@pytest.mark.parametrize("row", ERRORS)
def test_a_fault_is_named_with_its_mend(root, row):
    spoil, words, options = ERRORS[row]
    spoil(root)
    before = state_of(root)
    lines = seen(root, **{"class_names": NAMES, **options})
    assert_told("\n".join(lines), words)
    assert row in OF_THE_CHECK or len(lines) > 1  # the data set stops as well
    assert state_of(root) == before


def assert_told(line, words):
    assert re.search(words, line.replace("\n", " ")), line


@pytest.mark.parametrize("row", WARNINGS)
def test_what_may_not_be_meant_is_a_warning(root, row):
    spoil, words = WARNINGS[row]
    spoil(root)
    before = state_of(root)
    report = check(root, class_names=NAMES)
    assert report.problems == []
    assert_told(" ".join(report.warnings), words)
    for _ in from_directory(root, class_names=NAMES, batch_size=1):
        pass
    assert state_of(root) == before


def test_a_missing_folder_and_a_file(root):  # A6
    for place, words in (
        (root / "trainn", "no such folder"),
        (root / "train/images/a.png", "is a file, not a folder"),
    ):
        with pytest.raises(FileNotFoundError, match=words):
            from_directory(place)
    with pytest.raises(ValueError, match="unknown split 'vall'; known: train"):
        from_directory(root, "vall", class_names=NAMES)


def test_several_sizes_need_a_crop_or_a_size(root):  # A8
    of_two_sizes(root)
    with pytest.raises(
        ValueError, match="pictures of 2 sizes cannot share a batch; give image_size, augment"
    ):
        from_directory(root, class_names=NAMES, batch_size=2)


def test_what_is_read_right_whatever_it_looks_like(root):
    """A12 another suffix, A17 grey, CMYK and alpha, A18 names, A19 links, B1 palette, B3 equal channels."""
    Image.fromarray(NOISE).convert("CMYK").save(picture(root, "a.png"), "JPEG", quality=100)
    Image.fromarray(NOISE).convert("LA").save(picture(root, "b.png"))
    names = [picture(root, "c.png"), mask(root, "c.png")]
    for path in names:
        path.rename(path.with_name("ü [1] \n.png"))
    palette = Image.fromarray(IDS, mode="P")
    palette.putpalette(np.random.default_rng(1).integers(0, 256, 768, "uint8").tobytes())
    palette.save(mask(root, "a.png"))
    save(mask(root), np.dstack([IDS] * 3))
    (root / "train/images/loop").symlink_to(root / "train/images", target_is_directory=True)
    before = state_of(root)
    data = from_directory(root, class_names=NAMES, batch_size=1, shuffle=False)
    assert len(data.image_paths) == 3
    for _, ids in list(data)[:2]:
        np.testing.assert_array_equal(ids[0], IDS)
    assert check(root, class_names=NAMES).problems == []
    assert state_of(root) == before


def test_an_unreadable_file_is_named(root):  # A20
    picture(root, "b.png").chmod(0)
    before = [path for path, *_ in state_of(root)] if os.geteuid() == 0 else None
    if os.geteuid():
        assert_told(seen(root, class_names=NAMES)[0], "b\\.png")
    else:  # who may read everything reads it
        assert seen(root, class_names=NAMES) == [] and [path for path, *_ in state_of(root)] == before
