import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from kseg.data import check, from_directory
from kseg.data.checking import CheckReport


def masks_of(root, split):
    return np.stack([np.asarray(Image.open(path)) for path in sorted((root / split / "masks").iterdir())])


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def sound(make_files):
    make_files(["a", "b", "c"], "train", ids=(0, 0, 1, 2, 255))
    return make_files(["d", "e"], "val", ids=(0, 3))


@pytest.fixture
def broken(sound, png):
    """A folder with one problem of every kind, and for each, the path and what is said of it."""
    train, val = sound / "train", sound / "val"
    (train / "images/a.png").write_bytes(b"")
    (train / "masks/b.png").write_bytes((train / "masks/b.png").read_bytes()[:60])
    damaged = bytearray((train / "images/c.png").read_bytes())
    damaged[100:140] = bytes(40)
    (train / "images/c.png").write_bytes(damaged)
    (val / "masks/d.png").write_bytes(png(np.full((12, 16), 300), bits=16))
    Image.new("L", (8, 8)).save(val / "masks/e.png")
    shutil.copy(train / "images/b.png", train / "images/lone.png")
    for name in ("odd.png", "other.png"):
        shutil.copy(train / "images/b.png", val / "masks" / name)
    return sound, {
        train / "images/a.png": "0 bytes",
        train / "masks/b.png": "cut short",
        train / "images/c.png": "damaged",
        val / "masks/d.png": r"class ids \[300\] outside .* label_map",
        val / "masks/e.png": "8×8 pixels, but e.png has 16×12",
        train / "images": r"pictures without a mask in .*: 1 \(lone.png\)",
        val / "masks": r"masks without a picture in .*: 2 \(odd.png, other.png\)",
    }


def test_counts_are_those_of_numpy(sound):
    report = check(sound)
    assert report.class_names == ["class 0", "class 1", "class 2", "class 3"]
    assert report.pairs == {"train": 3, "val": 2}
    for split in ("train", "val"):
        masks = masks_of(sound, split)
        np.testing.assert_array_equal(report.pixels[split], [(masks == label).sum() for label in range(4)])
        assert report.void[split] == (masks == 255).sum()
    assert report.problems == []
    report.raise_for_problems()


def test_counts_follow_the_label_map(sound):
    report = check(sound, label_map={0: -1, 2: 1, 3: -2, 255: 0}, ignore_class=(-1, -2))
    masks = masks_of(sound, "train")
    np.testing.assert_array_equal(
        report.pixels["train"], [(masks == 255).sum(), np.isin(masks, (1, 2)).sum()]
    )
    assert report.void == {"train": (masks == 0).sum(), "val": masks_of(sound, "val").size}


def test_folder_without_splits(make_files):
    report = check(make_files(["a", "b", "c", "d"]), validation_fraction=0.25)
    assert report.pairs == {"train": 3, "val": 1}


@pytest.mark.parametrize("class_names", [None, ["a", "b", "c", "d"]])
def test_all_problems_are_reported_each_with_its_file(broken, class_names):
    root, expected = broken
    report = check(root, class_names=class_names)
    assert len(report.problems) == len(expected)
    for path, message in expected.items():
        assert any(re.match(rf"{re.escape(str(path))}: .*{message}", problem) for problem in report.problems)
    assert all(len(problem.splitlines()) == 1 for problem in report.problems)
    assert report.pairs == {"train": 3, "val": 2}


def test_unpaired_files_of_a_folder_without_splits_are_reported_once(make_files):
    root = make_files(["a", "b", "c"])
    (root / "masks/b.png").unlink()
    (problem,) = check(root).problems
    assert problem.startswith(f"{root}/images: pictures without a mask in {root}/masks: 1 (b.png)")


def test_masks_that_are_all_jpeg_are_all_reported(make_files):
    root = make_files(["a", "b"], "train")
    for path in (root / "train/masks").iterdir():
        Image.open(path).save(path, format="JPEG")
    assert len(check(root).problems) == 2


def test_problems_are_raised_on_request(broken):
    report = check(broken[0])
    with pytest.raises(ValueError, match=r"^.*: .* \(and 6 more problems\)$"):
        report.raise_for_problems()


def test_nothing_is_changed(broken):
    root, _ = broken
    before = contents(root)
    check(root)
    assert contents(root) == before


def test_report_prints_a_line_for_each_class_and_problem(broken):
    report = check(broken[0], class_names=["road", "a long name", "sky", "void"])
    lines = str(report).splitlines()
    assert lines[0] == "train: 3 pairs, val: 2 pairs"
    assert [line[:11].strip() for line in lines[2:7]] == ["road", "a long name", "sky", "void", "void"]
    assert lines[7] == "pictures: 16×12 (width×height), values 0–255"
    assert lines[8:15] == report.problems
    assert lines[15:] == [f"warning: {line}" for line in report.warnings]


def test_report_shows_the_shares_in_columns():
    report = CheckReport(
        ["a", "b"], {"train": 2}, {"train": np.array([70, 20])}, {"train": 10}, [str(i) for i in range(25)]
    )
    table, problems = str(report).splitlines()[1:5], str(report).splitlines()[5:]
    assert [line.split()[-1] for line in table] == ["train", "70.00%", "20.00%", "10.00%"]
    assert len({len(line) for line in table}) == 1
    assert problems == [*map(str, range(20)), "... and 5 more problems"]


def test_progress_counts_every_file(sound):
    calls = []
    check(sound, progress=lambda *call: calls.append(call))
    assert calls == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "neither"), ("nowhere", "no such folder"), ("a.zip", "is a file, not a folder")],
)
def test_folder_without_pairs(tmp_path, name, message):
    (tmp_path / "a.zip").touch()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(str(tmp_path / name))}: {message}"):
        check(tmp_path / name)


NAMES = ["background", "crack"]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("names", ["argument", "file"])
@pytest.mark.parametrize("folder", ["train", ""])
def test_masks_of_0_and_255_are_named_although_the_classes_have_names(make_files, png, bits, names, folder):
    root = make_files(["a", "b", "c"], folder, ids=(0, 255))
    if bits == 16:
        for path in (root / folder / "masks").iterdir():
            path.write_bytes(png(np.asarray(Image.open(path)), bits=16))
    if names == "file":
        (root / "classes.txt").write_text("\n".join(NAMES))
    given = NAMES if names == "argument" else None
    (problem,) = check(root, class_names=given).problems
    assert "class 0 and void (255) alone" in problem and "label_map={255: 1}" in problem
    assert check(root, class_names=given, label_map={255: 1}).problems == []


def test_masks_of_void_alone_and_of_a_mapped_void_are_named(make_files):
    root = make_files(["a"], "train", ids=(255,))
    assert "void alone" in check(root, class_names=NAMES).problems[0]
    root = make_files(["b"], "train", ids=(0, 11))
    (root / "train/masks/a.png").unlink(), (root / "train/images/a.png").unlink()
    (problem,) = check(root, class_names=NAMES, label_map={11: 255}).problems
    assert "class 0 and void (255) alone" in problem and "{255: 1}" not in problem
    (problem,) = check(root, class_names=NAMES, ignore_class=11).problems
    assert "label_map={11: 1}" in problem


@pytest.mark.parametrize("ids", [(0, 1, 255), (0, 1), (0,), (1, 255)])
def test_masks_that_hold_a_class_or_no_void_are_sound(make_files, ids):
    assert check(make_files(["a", "b"], "train", ids=ids), class_names=NAMES).problems == []


def test_one_split_may_hold_void_and_background_alone(make_files):
    make_files(["a"], "train", ids=(0, 1, 255))
    assert check(make_files(["b"], "val", ids=(0, 255)), class_names=NAMES).problems == []


def test_one_named_class_and_void_are_sound(make_files):
    assert check(make_files(["a"], "train", ids=(0, 255)), class_names=["road"]).problems == []


def test_equal_pictures_are_named_across_and_within_splits(make_files):
    make_files(["a", "b", "c"], "train", ids=(0, 1))
    root = make_files(["d", "e"], "val", ids=(0, 1))
    assert check(root).warnings == []
    shutil.copy(root / "train/images/a.png", root / "train/images/c.png")
    Image.open(root / "train/images/b.png").save(root / "val/images/d.bmp")  # the same pixels in another file
    (root / "val/images/d.png").unlink()
    warnings = check(root).warnings
    assert any(re.match("1 pictures of 'val' are in 'train' too: d.bmp", line) for line in warnings)
    assert any(re.match("1 pictures of 'train' are there more than once: c.png", line) for line in warnings)
    assert len(warnings) == 2


def test_classes_that_lack_are_warnings(make_files):
    make_files(["a", "b"], "train", ids=(0, 1))
    root = make_files(["c"], "val", ids=(0, 2))
    report = check(root, class_names=["road", "sky", "car", "bus"])
    assert report.problems == []
    assert report.warnings == [
        "no mask has a pixel of 'bus'; check the ids and names of the classes",
        "'train' has no pixel of 'car'",
        "'val' has no pixel of 'sky'",
    ]


def test_masks_that_teach_nothing_are_warnings(make_files):
    make_files(["a"], "train", ids=(0, 1))
    make_files(["v", "w"], "train", ids=(255,))
    root = make_files(["m", "n", "o", "p"], "train", ids=(0, 255))
    warnings = check(root, class_names=NAMES).warnings
    assert "2 of 7 masks are void alone: v.png, w.png" in warnings
    assert "4 of 7 masks hold 'background' alone: m.png, n.png, o.png, ..." in warnings


def test_sizes_and_values_are_told(make_files):
    make_files(["a", "b"], "train", ids=(0, 1))
    root = make_files(["c"], "train", size=(9, 5), ids=(0, 1))
    report = check(root)
    assert report.sizes == {(12, 16): 2, (9, 5): 1}
    pixels = [np.asarray(Image.open(path)) for path in (root / "train/images").iterdir()]
    assert report.value_range == (min(p.min() for p in pixels), max(p.max() for p in pixels))
    for path in (root / "train/images").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 128).save(path)
    assert "hold 0–1 of 0–255" in " ".join(check(root).warnings)


def test_a_rare_class_suggests_weights(make_files):
    root = make_files(["a"], "train", ids=(*[0] * 30, 1))
    (line,) = check(root).suggestions
    assert line.startswith("class_weights='sqrt_median_frequency', as 'class 1' is 3.")


def test_the_report_goes_into_json(broken):
    report = check(broken[0])
    found = json.loads(json.dumps(report.as_dict()))
    assert found["problems"] == report.problems and found["pairs"] == report.pairs
    assert found["pixels"]["train"] == report.pixels["train"].tolist()
    assert sum(size["pictures"] for size in found["sizes"]) == 1


def test_deep_pictures_are_one_problem_with_their_range_and_their_masks_are_counted(make_files):
    root = make_files("abc", "train")
    for number, path in enumerate(sorted(root.glob("train/images/*.png"))):
        pixels = np.full((12, 16), 100 + number, "uint16")
        pixels[0, 0] = 4000 + number
        Image.fromarray(pixels).save(path)
    report = check(root, class_names=["a", "b", "c"])
    (problem,) = report.problems
    assert problem.startswith(f"{root / 'train/images/a.png'}: holds 100–4000 in 16 bits")
    assert problem.endswith("(and 2 more pictures, 100–4002 in all)")
    assert "value_range=(100, 4002)" in report.suggestions
    assert report.pixels["train"].sum() + report.void["train"] == 3 * 12 * 16
    assert check(root, class_names=["a", "b", "c"], value_range=(0, 4095)).problems == []


def test_pictures_of_several_numbers_of_channels_are_a_problem(make_files):
    root = make_files("abc", "train")
    np.save(root / "train/images/b.npy", np.zeros((12, 16, 4), "uint8"))
    (root / "train/images/b.png").unlink()
    (problem,) = check(root, class_names=["a", "b", "c"]).problems
    assert "several numbers of channels (3 in a.png, 4 in b.npy)" in problem
    with pytest.raises(ValueError, match=r"b\.npy: has channels 4, and .*a\.png has 3"):
        from_directory(root, class_names=["a", "b", "c"])


def test_masks_of_0_and_255_are_diagnosed_without_names_too(make_files):
    report = check(make_files("abc", "train", ids=(0, 255)))
    (problem,) = report.problems
    assert "hold class 0 and void (255) alone; if void is a class, map it: label_map={255: 1}" in problem
    assert report.suggestions[0] == "label_map={255: 1}"
