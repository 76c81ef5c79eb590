"""Masks of one file per class, found by `{class}` in their pattern."""

import numpy as np
import pytest
from PIL import Image

from kseg.data import check, from_directory


@pytest.fixture
def root(tmp_path):
    """Two pictures of one split, three classes, of which one picture lacks one."""
    rng = np.random.default_rng(0)
    for name, classes in (("a_1", ("lane", "pot_hole")), ("b_2", ("lane", "crack", "pot_hole"))):
        for kind in ("images", *classes):
            (tmp_path / f"train/{kind}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 8, 3), "uint8")).save(tmp_path / f"train/images/{name}.jpg")
        for kind in classes:
            marks = (rng.random((6, 8)) < 0.4).astype("uint8") * 255
            Image.fromarray(marks).save(tmp_path / f"train/{kind}/{name}.png")
    return tmp_path


def expected(root, name, classes):
    ids = np.zeros((6, 8), int)
    for number, kind in enumerate(classes, 1):
        path = root / f"train/{kind}/{name}.png"
        if path.exists():
            ids[np.asarray(Image.open(path)) > 0] = number
    return ids


BY_FOLDER = {"images": "{split}/images/*.jpg", "masks": "{split}/{class}/*.png"}


@pytest.mark.parametrize("names", [None, ["road", "pot_hole", "lane", "crack"], "file"])
def test_a_folder_for_each_class(root, names):
    if names == "file":
        (root / "classes.txt").write_text("road\n\nlane\ncrack\npot_hole\n")
    given = None if names == "file" else names
    data = from_directory(root, batch_size=1, shuffle=False, class_names=given, **BY_FOLDER)
    if names == "file":
        names = ["road", "lane", "crack", "pot_hole"]
    names = names or ["background", "crack", "lane", "pot_hole"]
    assert data.class_names == names
    for stem, (_, ids) in zip(("a_1", "b_2"), data.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(ids[0], expected(root, stem, names[1:]))


def test_class_in_the_name_beside_stars_and_the_picture(root, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in [*root.glob("train/*/*.png"), *root.glob("train/images/*.jpg")]:
        name = f"{path.stem}_{'RAW' if path.suffix == '.jpg' else path.parent.name}.png"
        Image.open(path).save(flat / name)  # the picture matches the pattern of the masks too
    patterns = {"images": "*_RAW.png", "masks": "*_{class}.png"}
    names = ["background", "crack", "lane", "pot_hole"]
    options = {"validation_fraction": 0.5, "batch_size": 1, "shuffle": False}
    seen = 0
    for split in ("train", "val"):
        data = from_directory(flat, split, class_names=names, **patterns, **options)
        for path, (_, ids) in zip(data.image_paths, data.as_numpy_iterator(), strict=True):
            stem = path.rpartition("/")[2].removesuffix("_RAW.png")
            np.testing.assert_array_equal(ids[0], expected(root, stem, names[1:]))
            seen += 1
    assert seen == 2


def test_what_is_wrong_is_named(root):
    with pytest.raises(ValueError, match=r"crack/b_2\.png: is a mask of none of the classes \['lane'"):
        from_directory(root, class_names=["road", "lane", "pot_hole"], **BY_FOLDER)
    with pytest.raises(ValueError, match=r"\{class\} stands once, in masks"):
        from_directory(root, images="{split}/{class}/*.jpg", masks="{split}/{class}/*.png")
    Image.new("L", (9, 9)).save(root / "train/crack/b_2.png")
    with pytest.raises(ValueError, match=r"lane/b_2\.png: 8×6 pixels, but .*crack/b_2\.png has 9×9"):
        from_directory(root, **BY_FOLDER)
    (root / "train/images/c.jpg").write_bytes((root / "train/images/a_1.jpg").read_bytes())
    (problem, *_) = check(root, **BY_FOLDER).problems
    assert "pictures without a mask" in problem and "c.jpg" in problem
