"""Masks of colours: what each means, from a dict and from files as people have them."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from kseg.data import check, from_directory
from kseg.data.colors import MaskColors, read_colors
from kseg.data.mask_files import read_mask

COLORS = {
    "road": (128, 64, 128),
    "sky": (128, 128, 128),
    "Void": (0, 0, 0),
    "car": [(64, 0, 128), (64, 0, 192)],
}
IDS = {(128, 64, 128): 0, (128, 128, 128): 1, (0, 0, 0): 255, (64, 0, 128): 2, (64, 0, 192): 2}
FILES = {
    "label_colors.txt": "128 64 128\t\troad\n128 128 128\tsky\n0 0 0\t\tVoid\n64 0 128\tcar\n64 0 192\tcar\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:128,128,128::\nVoid:0,0,0::\n"
    "car:64,0,128::\ncar:64,0,192::\n",
    "a.csv": "name,r,g,b\nroad,128,64,128\nsky, 128, 128, 128\nVoid,0,0,0\ncar,64,0,128\ncar,64,0,192\n",
    "hex.csv": "name,hex\nroad,#804080\nsky,#808080\nVoid,#000000\ncar,#400080\ncar,#4000C0\n",
}


def paint(ids, colors):
    pixels = np.zeros((*np.shape(ids), 3), "uint8")
    for color, id in colors.items():
        pixels[np.asarray(ids) == id] = color
    return pixels


@pytest.fixture
def painted(make_files):
    """A folder of colours, and the ids painted there."""
    root = make_files(["a", "b", "c"], "train")
    ids = []
    for path in sorted((root / "train/masks").iterdir()):
        ids.append(np.asarray(Image.open(path)))
        Image.fromarray(paint(ids[-1], IDS)).save(path)
    return root, np.stack(ids)


def test_a_dict_tells_names_ids_and_void():
    assert read_colors(COLORS) == MaskColors(["road", "sky", "car"], IDS)
    assert read_colors(None) is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_files_tell_the_same(tmp_path, name, ends):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + FILES[name].replace("\n", ends).encode())
    assert (
        read_colors(tmp_path / name)
        == read_colors(str(tmp_path / name))
        == MaskColors(["road", "sky", "car"], IDS)
    )


def test_names_may_hold_blanks_and_commas(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3\tTraffic cone, small\n4 5 6 OtherMoving\n")
    assert read_colors(tmp_path / "a.txt").names == ["Traffic cone, small", "OtherMoving"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found 0"),
        (b"name,r,g,b\nroad,1,2\n", "line 2"),
        (b"a,1,2,3\nb,1,2,3\n", r"\(1, 2, 3\) stands for 'b'"),
        (b"a,1,2,300\n", "within 0..255"),
        (b"void,0,0,0\n", "found 0"),
        ("Straße,1,2,3".encode("latin-1"), "UTF-8"),
    ],
)
def test_files_that_tell_nothing(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / 'a.csv'))}: .*{words}"):
        read_colors(tmp_path / "a.csv")


@pytest.mark.parametrize("value", [5, "red", (1, 2), (1, 2, -1), (1.0, 2, 3), (True, 0, 0), [], [(1, 2)]])
def test_what_is_no_colour_is_refused(value):
    with pytest.raises(ValueError, match="colors: a colour is"):
        read_colors({"road": value})


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    ids=arrays.arrays(
        "uint8", st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 255])
    )
)
def test_painted_ids_come_back(ids):
    one_color_each = {color: id for color, id in IDS.items() if color != (64, 0, 192)}
    found = read_colors(COLORS).ids_of(paint(ids, one_color_each), "a.png")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, ids)


def test_a_folder_of_colours_is_one_of_ids(painted):
    root, ids = painted
    dataset = from_directory(root, batch_size=3, shuffle=False, colors=COLORS)
    assert dataset.class_names == ["road", "sky", "car"]
    np.testing.assert_array_equal(next(iter(dataset))[1], ids)
    report = check(root, colors=COLORS)
    assert report.problems == []
    np.testing.assert_array_equal(report.pixels["train"], [(ids == id).sum() for id in range(3)])
    assert report.void["train"] == (ids == 255).sum()


def test_void_has_the_id_that_was_asked_for(painted):
    root, ids = painted
    dataset = from_directory(root, batch_size=3, shuffle=False, colors=COLORS, ignore_class=(-1, 99))
    np.testing.assert_array_equal(next(iter(dataset))[1], np.where(ids == 255, -1, ids.astype("int32")))


def test_classes_of_colours_can_be_merged(painted):
    root, ids = painted
    options = {"colors": COLORS, "label_map": {2: 0}, "class_names": ["flat", "sky"]}
    dataset = from_directory(root, batch_size=3, shuffle=False, **options)
    np.testing.assert_array_equal(next(iter(dataset))[1], np.where(ids == 2, 0, ids))


@pytest.mark.parametrize("mode", ["P", "RGBA", "npy", "bmp", "L", "1"])
def test_colours_by_any_file(tmp_path, mode):
    ids = np.resize([0, 1, 1, 255], (4, 6))
    colors = {(128, 64, 128): 0, (255, 255, 255): 1, (0, 0, 0): 255}
    if mode in ("L", "1"):
        colors = {(77, 77, 77) if mode == "L" else (0, 0, 0): 0, (255, 255, 255): 1}
        ids = ids % 255 % 2
    pixels, path = paint(ids, colors), tmp_path / "m.png"
    table = MaskColors(["a", "b"], colors)
    if mode == "npy":
        path = tmp_path / "m.npy"
        np.save(path, pixels)
    elif mode == "bmp":
        path = tmp_path / "m.bmp"
        Image.fromarray(pixels).save(path)
    elif mode == "P":
        Image.fromarray(pixels).quantize(8).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path)
    np.testing.assert_array_equal(read_mask(path, table), ids)


def test_unknown_colours_are_counted_and_shown(painted):
    root, _ = painted
    path = root / "train/masks/b.png"
    pixels = np.array(Image.open(path))
    pixels[3, 5], pixels[7, 2:4] = (1, 2, 3), (4, 5, 6)
    Image.fromarray(pixels).save(path)
    (problem,) = check(root, colors=COLORS).problems
    expected = (
        "2 colours are none of colors=: #040506 (4, 5, 6) in 2 pixels, as at x=2, y=7; #010203 (1, 2, 3) in 1"
    )
    assert problem.startswith(f"{path}: {expected}")


def test_without_colors_they_are_shown(painted):
    root, _ = painted
    with pytest.raises(ValueError, match=r"mask of \d colours, #.*colors="):
        from_directory(root)
    assert all("colors=" in problem for problem in check(root, class_names=["a", "b", "c"]).problems)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype="uint8")
    Image.fromarray(noise).save(root / "train/masks/a.png")
    with pytest.raises(ValueError, match="interpolated"):
        read_mask(root / "train/masks/a.png")


def test_16_bits_are_no_colours(tmp_path):
    Image.fromarray(np.full((3, 3), 300, "uint16")).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: a mask of colours has 8 bits"):
        read_mask(tmp_path / "m.png", read_colors(COLORS))
