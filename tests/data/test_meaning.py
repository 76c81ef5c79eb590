"""What ids mean: maps and names of layouts go with their own masks and names alone."""

import numpy as np
import pytest
from PIL import Image

from kseg.data import check, from_directory

RNG = np.random.default_rng(0)


def pair(root, image, mask, ids):
    for path in (root / image, root / mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (6, 8, 3), "uint8")).save(root / image)
    Image.fromarray(np.resize(np.array(ids, "uint8"), (6, 8))).save(root / mask)


def ids_of(root, split="train", **options):
    data = from_directory(root, split, batch_size=1, shuffle=False, **options)
    return data.class_names, sorted({int(i) for _, ids in data.as_numpy_iterator() for i in np.unique(ids)})


def test_pictures_and_annotations_are_not_ade20k_by_their_folders_alone(tmp_path):
    for split in ("train", "val"):
        pair(tmp_path, f"images/{split}/a.jpg", f"annotations/{split}/a.png", [0, 1])
    with pytest.raises(FileNotFoundError, match=r"images='images/\{split\}/\*' with masks='annotations/"):
        from_directory(tmp_path)
    patterns = {"images": "images/{split}/*", "masks": "annotations/{split}/*"}
    assert ids_of(tmp_path, class_names=["sea", "land"], **patterns) == (["sea", "land"], [0, 1])


def test_a_map_goes_with_as_many_names_as_its_layout_has(tmp_path):
    pair(tmp_path, "images/training/a.jpg", "annotations/training/a.png", [0, 1, 2])
    names, ids = ids_of(tmp_path)
    assert len(names) == 150 and ids == [0, 1, 255]
    assert ids_of(tmp_path, class_names=["sea", "land", "air"])[1] == [0, 1, 2]
    (tmp_path / "classes.txt").write_text("sea\nland\nair\n")
    assert ids_of(tmp_path) == (["sea", "land", "air"], [0, 1, 2])


def test_masks_of_ones_own_have_no_map_of_a_layout(tmp_path):
    for kind, ids in (("labelIds", [7, 8, 21]), ("labelTrainIds", [0, 1, 8])):
        name = "train/ulm/ulm_1"
        pair(tmp_path, f"leftImg8bit/{name}_leftImg8bit.png", f"gtFine/{name}_gtFine_{kind}.png", ids)
    pattern = "gtFine/{split}/**/*_gtFine_labelTrainIds.png"
    assert ids_of(tmp_path)[1] == ids_of(tmp_path, masks=pattern)[1] == [0, 1, 8]
    assert ids_of(tmp_path, layout="cityscapes_train_ids")[1] == [0, 1, 8]


@pytest.mark.parametrize(
    ("text", "held"), [("names: {1: crack}", [0, 1]), ("names: {0: a, 2: crack}", [0, 1, 2])]
)
def test_an_id_without_a_name_is_not_taken_for_another(tmp_path, text, held):
    pair(tmp_path, "images/train/a.jpg", "masks/train/a.png", held)
    (tmp_path / "data.yaml").write_text(text)
    nameless = 0 if "1" in text else 1
    (problem,) = check(tmp_path).problems
    assert f"class ids [{nameless}] outside" in problem


def test_lists_beside_masks_do_not_make_splits_one(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            pair(tmp_path, f"images/{split}/{number}.jpg", f"masks/{split}/{number}.png", [0, 1])
    (tmp_path / "images/readme.txt").write_text("pictures")
    (tmp_path / "masks/readme.txt").write_text("masks")
    data = from_directory(tmp_path, "val", batch_size=1)
    assert data.layout == "ultralytics" and len(data.image_paths) == 2


@pytest.mark.parametrize("split", ["*", "**", "{split}", "tr*", "train/../val", "", None, 5])
def test_a_split_is_a_name_and_no_pattern(make_files, split):
    with pytest.raises(ValueError, match="split must be the name of one, for instance 'train'"):
        from_directory(make_files("abc", "train"), split)


def test_one_list_of_all_is_divided(tmp_path):
    for number in range(6):
        pair(tmp_path, f"img/{number}.jpg", f"gt/{number}.png", [0, 1])
    (tmp_path / "all.txt").write_text("".join(f"{number}\n" for number in range(5)))
    options = {"images": "img/*", "masks": "gt/*", "split_file": "all.txt"}
    sizes = [
        len(from_directory(tmp_path, split, batch_size=1, **options).image_paths)
        for split in ("train", "val")
    ]
    assert sum(sizes) == 5 and min(sizes) > 0
    assert sum(check(tmp_path, **options).pairs.values()) == 5


def test_names_are_a_list_and_colours_have_one_order(make_files):
    root = make_files("abc", "train")
    with pytest.raises(ValueError, match="class_names must be a list of names, got 'road'"):
        from_directory(root, class_names="road")
    with pytest.raises(ValueError, match="class_names is empty"):
        from_directory(root, class_names=[])
    colors = {"x": (0, 0, 0), "y": (1, 1, 1), "z": [(2, 2, 2), (255, 255, 255)]}
    with pytest.raises(ValueError, match=r"names of colors= in another order, \['z', 'y', 'x'\] for \['x'"):
        from_directory(root, class_names=["z", "y", "x"], colors=colors)
    assert ids_of(root, class_names=["x", "y", "z"], colors=colors)[1] == [0, 1, 2]


def test_many_classes_beside_a_frequent_one_are_no_soft_edges(tmp_path):
    ids = [0] * 84 + list(range(12))
    for number in range(3):
        pair(tmp_path, f"train/images/{number}.png", f"train/masks/{number}.png", ids)
        Image.fromarray(np.resize(np.array(ids, "uint8"), (12, 8))).save(
            tmp_path / f"train/masks/{number}.png"
        )
        Image.fromarray(RNG.integers(0, 256, (12, 8, 3), "uint8")).save(
            tmp_path / f"train/images/{number}.png"
        )
    assert len(ids_of(tmp_path)[0]) == 12
    assert check(tmp_path).problems == []


def test_a_line_of_a_list_that_means_several_pictures_asks_for_paths(tmp_path):
    for place in ("x/1", "y/1", "a.1"):
        pair(tmp_path, f"img/{place}.png", f"gt/{place}.png", [0, 1])
    options = {"images": "img/**/*", "masks": "gt/**/*", "split_file": "{split}.txt"}
    (tmp_path / "train.txt").write_text("1\n")
    with pytest.raises(ValueError, match=r"train\.txt: names that several pictures have: line 1 '1'; write"):
        from_directory(tmp_path, **options)
    (tmp_path / "train.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"train\.txt: names pictures that are not there: line 1 'a'"):
        from_directory(tmp_path, **options)
    (tmp_path / "train.txt").write_text("y/1\na.1\n")
    assert len(from_directory(tmp_path, batch_size=1, **options).image_paths) == 2
