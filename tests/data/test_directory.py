import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.data import augment, check, from_directory, from_files

STEMS = ["b", "a.v2", "c", "a", "d"]


def stems_of(paths):
    return [Path(path).stem for path in paths]


def arrays(dataset):
    """Return what one epoch gives: all pictures, all masks, in order."""
    return tuple(np.concatenate(part) for part in zip(*dataset.as_numpy_iterator(), strict=True))


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def pixels(path):
    return np.asarray(Image.open(path))


def save_mask(path, mask):
    Image.fromarray(np.asarray(mask, "uint8")).save(path)


# what comes out


@pytest.mark.parametrize("folder", ["train", "val", "test"])
def test_files_of_a_split_come_in_the_order_of_their_stems(make_files, folder):
    root = make_files(STEMS, folder)
    dataset = from_directory(root, folder, shuffle=False, batch_size=2)
    images, masks = arrays(dataset)
    assert stems_of(dataset.image_paths) == stems_of(dataset.mask_paths) == sorted(STEMS)
    np.testing.assert_array_equal(images, [pixels(path) for path in dataset.image_paths])
    np.testing.assert_array_equal(masks, [pixels(path) for path in dataset.mask_paths])


def test_batches(make_files):
    dataset = from_directory(make_files(STEMS, "train"), shuffle=False, batch_size=2)
    assert dataset.element_spec == (
        tf.TensorSpec((None, 12, 16, 3), tf.uint8),
        tf.TensorSpec((None, 12, 16), tf.int32),
    )
    assert [len(images) for images, _ in dataset] == [2, 2, 1]
    assert len(dataset) == 3


def test_no_batch_size_gives_single_pictures(make_files):
    dataset = from_directory(make_files(STEMS, "train"), batch_size=None)
    assert [image.shape for image, _ in dataset] == [(12, 16, 3)] * 5


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2]), (5, [5]), (8, [5])])
def test_shuffled_batches_are_whole_unless_there_is_one_alone(make_files, batch_size, sizes):
    dataset = from_directory(make_files(STEMS, "train"), batch_size=batch_size)
    assert [len(images) for images, _ in dataset] == sizes


def test_picture_and_mask_pair_by_stem_whatever_their_suffixes(make_files):
    root = make_files(["a", "b"], "train")
    images, masks = root / "train/images", root / "train/masks"
    Image.open(images / "a.png").save(images / "a.JPEG", "JPEG")
    (images / "a.png").unlink()
    Image.open(masks / "b.png").save(masks / "b.tif")
    (masks / "b.png").unlink()
    (images / ".b.png").write_text("hidden files do not count")
    (images / "notes.txt").write_text("nor do other suffixes")
    dataset = from_directory(root, shuffle=False)
    assert dataset.image_paths == [str(images / "a.JPEG"), str(images / "b.png")]
    assert dataset.mask_paths == [str(masks / "a.png"), str(masks / "b.tif")]
    np.testing.assert_array_equal(arrays(dataset)[1], [pixels(path) for path in dataset.mask_paths])


@pytest.mark.parametrize("stem", ["two words", "img[1]", "Fähre 渡し", "100%*?", os.fsdecode(b"\xff\xfe")])
def test_file_names_of_any_characters_work(make_files, stem):
    dataset = from_directory(make_files([stem, "plain"], "train"), shuffle=False)
    images, masks = arrays(dataset)
    np.testing.assert_array_equal(images, [pixels(path) for path in dataset.image_paths])
    np.testing.assert_array_equal(masks, [pixels(path) for path in dataset.mask_paths])


def test_palette_16_bit_and_8_bit_masks_mix(make_files, png):
    root = make_files(["grey", "palette", "wide"], "train")
    mask = np.resize([0, 1, 2, 255], (12, 16))
    (root / "train/masks/palette.png").write_bytes(png(mask, palette=np.full((256, 3), 9)))
    (root / "train/masks/wide.png").write_bytes(png(mask, bits=16))
    masks = arrays(from_directory(root, shuffle=False))[1]
    np.testing.assert_array_equal(masks, [pixels(root / "train/masks/grey.png"), mask, mask])


def test_mask_of_a_turned_picture_fits_it_as_displayed(make_files):
    root = make_files(["a"], "train", size=(16, 12))
    path = root / "train/images/a.jpg"
    (root / "train/images/a.png").rename(path)
    turn = Image.Exif()
    turn[274] = 6
    Image.new("RGB", (16, 12)).save(path, exif=turn)
    assert arrays(from_directory(root))[0].shape == (1, 16, 12, 3)


# sizes


def test_image_size_resizes_both(make_files):
    root = make_files(STEMS, "train", size=(24, 40))
    dataset = from_directory(root, image_size=[15, 20], shuffle=False)
    images, masks = arrays(dataset)
    rows, columns = ((np.arange(15) + 0.5) * 24 / 15).astype(int), np.arange(20) * 2 + 1  # nearest
    np.testing.assert_array_equal(masks, [pixels(path)[np.ix_(rows, columns)] for path in dataset.mask_paths])
    pillow = [Image.open(path).resize((20, 15), Image.Resampling.BILINEAR) for path in dataset.image_paths]
    np.testing.assert_allclose(images.astype(int), np.stack(pillow).astype(int), atol=1)


@pytest.mark.parametrize(
    ("options", "shapes"),
    [
        ({"batch_size": None}, {(12, 16, 3), (20, 10, 3)}),
        ({"batch_size": 1}, {(1, 12, 16, 3), (1, 20, 10, 3)}),
        ({"image_size": (8, 8)}, {(2, 8, 8, 3)}),
        ({"augment": augment((8, 8))}, {(2, 8, 8, 3)}),
    ],
)
def test_pictures_of_several_sizes(make_files, options, shapes):
    make_files(["wide"], "train", size=(12, 16))
    root = make_files(["high"], "train", size=(20, 10))
    assert {tuple(images.shape) for images, _ in from_directory(root, **options)} == shapes


# classes


def test_classes_are_numbered_up_to_the_largest_id_of_all_splits(make_files):
    make_files(["a"], "train", ids=(0, 1, 255))
    dataset = from_directory(make_files(["b"], "val", ids=(0, 3)))
    assert dataset.class_names == ["class 0", "class 1", "class 2", "class 3"]
    assert dataset.num_classes == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_classes_txt_names_the_classes(make_files, encoding):
    root = make_files(["a"], "train")
    (root / "classes.txt").write_text("road\n\n Straße \nsky\n", encoding=encoding)
    assert from_directory(root).class_names == ["road", "Straße", "sky"]


def test_class_names_go_before_classes_txt(make_files):
    root = make_files(["a"], "train")
    (root / "classes.txt").write_text("x\ny\nz\n")
    assert from_directory(root, class_names=("a", "b", "c")).class_names == ["a", "b", "c"]


def test_label_map_maps_every_id_once(make_files):
    root = make_files(["a"], "train", ids=(0, 2, 11, 255))
    dataset = from_directory(root, label_map={11: 255, 255: 1})
    stored = pixels(dataset.mask_paths[0]).astype(int)
    expected = np.select([stored == 11, stored == 255], [255, 1], stored)
    np.testing.assert_array_equal(arrays(dataset)[1][0], expected)
    assert dataset.num_classes == 3


def test_void_may_be_negative(make_files):
    root = make_files(["a"], "train", ids=(0, 1, 2))
    dataset = from_directory(root, label_map={0: -1}, ignore_class=-1)
    stored = pixels(dataset.mask_paths[0]).astype(int)
    np.testing.assert_array_equal(arrays(dataset)[1][0], np.where(stored == 0, -1, stored))


def test_void_may_be_several_ids(make_files):
    dataset = from_directory(make_files(["a"], "train", ids=(0, 1, 254, 255)), ignore_class=(254, 255))
    assert dataset.num_classes == 2
    assert set(np.unique(arrays(dataset)[1])) == {0, 1, 254, 255}


# order and chance


@pytest.mark.parametrize("options", [{}, {"augment": augment((10, 10))}])
def test_a_seed_fixes_every_epoch(make_files, options):
    root = make_files(STEMS, "train")
    first, second = (from_directory(root, batch_size=2, seed=3, **options) for _ in range(2))
    other = from_directory(root, batch_size=2, seed=4, **options)
    epochs = [arrays(first) for _ in range(2)]
    assert same(epochs[0], arrays(second))
    assert same(epochs[1], arrays(second))
    assert not same(epochs[0], epochs[1])
    assert not same(epochs[0], arrays(other))


def test_every_epoch_augments_anew(make_files):
    dataset = from_directory(make_files(STEMS, "train"), augment=augment((10, 10)), shuffle=False)
    assert not same(arrays(dataset), arrays(dataset))


def test_only_train_is_shuffled(make_files):
    root = make_files(STEMS, "train")
    make_files(STEMS, "val")
    in_order = arrays(from_directory(root, "val"))
    assert same(in_order, arrays(from_directory(root, "val")))
    assert any(not same(in_order, arrays(from_directory(root, seed=seed))) for seed in range(3))


# folders without splits


def test_validation_fraction_splits_the_files_once_and_for_all(make_files):
    stems = [f"{number:02}" for number in range(20)]
    root = make_files(stems)
    train, val = (stems_of(from_directory(root, split).image_paths) for split in ("train", "val"))
    assert len(val) == 4
    assert sorted(train + val) == stems
    assert train == sorted(train) and val == sorted(val)
    again = from_directory(shutil.copytree(root, root.with_name("moved")), "val", seed=5)
    assert stems_of(again.image_paths) == val
    assert len(from_directory(root, "val", validation_fraction=0.45).image_paths) == 9


def test_there_is_always_one_file_for_validation(make_files):
    root = make_files(["a", "b"])
    assert len(from_directory(root, "val", validation_fraction=0.01).image_paths) == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 1.5])
def test_validation_fraction_out_of_range(make_files, fraction):
    root = make_files(STEMS)
    with pytest.raises(ValueError, match="validation_fraction must be between 0 and 1"):
        from_directory(root, validation_fraction=fraction)


def test_one_file_cannot_be_split(make_files):
    root = make_files(["a"])
    with pytest.raises(ValueError, match="1 pictures are too few to split"):
        from_directory(root)


# folders and files that do not fit


def fails(error, path, message, root, *arguments, **options):
    with pytest.raises(error, match=f"{re.escape(str(path))}.*{message}") as caught:
        from_directory(root, *arguments, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_folder(tmp_path):
    fails(FileNotFoundError, tmp_path / "nowhere", "no such folder", tmp_path / "nowhere")


def test_file_instead_of_a_folder(tmp_path):
    (tmp_path / "file.zip").touch()
    fails(FileNotFoundError, tmp_path / "file.zip", "is a file, not a folder", tmp_path / "file.zip")


def test_folder_of_another_layout(tmp_path):
    fails(FileNotFoundError, tmp_path, "neither train/images nor images is in", tmp_path)


@pytest.mark.parametrize("folder", ["", "train"])
def test_unknown_split_offers_the_nearest(make_files, folder):
    fails(ValueError, "trian", "did you mean 'train'", make_files(STEMS, folder), "trian")


def test_no_masks_folder(make_files):
    root = make_files(["a"], "train")
    shutil.rmtree(root / "train/masks")
    fails(FileNotFoundError, root / "train/masks", "no such folder", root)


def test_no_pictures(make_files):
    root = make_files([], "train")
    fails(ValueError, root / "train/images", r"no pictures \(.*\.png", root)


def test_no_pairs(make_files):
    root = make_files(["a"], "train")
    (root / "train/masks/a.png").rename(root / "train/masks/a_mask.png")
    fails(ValueError, root / "train/images", r"a\.png against a_mask\.png", root)


@pytest.mark.parametrize(("kind", "lacks"), [("masks", "images"), ("images", "masks")])
def test_file_without_its_other_half(make_files, kind, lacks):
    root = make_files(STEMS, "train")
    for stem in ("b", "c"):
        (root / f"train/{kind}/{stem}.png").unlink()
    fails(ValueError, root / f"train/{lacks}", r"without a .*: 2 \(b.png, c.png\)", root)


def test_two_files_of_one_stem(make_files):
    root = make_files(["a"], "train")
    shutil.copy(root / "train/images/a.png", root / "train/images/a.bmp")
    fails(ValueError, root / "train/images/a.png", r"a\.bmp has the same stem", root)


def test_mask_of_another_size(make_files):
    root = make_files(STEMS, "train")
    save_mask(root / "train/masks/c.png", np.zeros((16, 12)))
    fails(ValueError, root / "train/masks/c.png", "12×16 pixels, but c.png has 16×12", root)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_unreadable_file(make_files, kind):
    root = make_files(STEMS, "train")
    (root / f"train/{kind}/c.png").write_text("<html>")
    fails(ValueError, root / f"train/{kind}/c.png", "cannot be read as a picture", root)


def test_several_sizes_in_a_batch(make_files):
    make_files(["wide"], "train", size=(12, 16))
    root = make_files(["high"], "train", size=(20, 10))
    fails(ValueError, root, "pictures of 2 sizes cannot share a batch; give image_size", root)


# arguments and ids that do not fit


@pytest.mark.parametrize("image_size", [64, (64,), (0, 64), (64.0, 64), "64"])
def test_bad_image_size(make_files, image_size):
    fails(ValueError, "image_size must be (H, W)", "got", make_files(["a"], "train"), image_size=image_size)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_bad_batch_size(make_files, batch_size):
    fails(
        ValueError, "batch_size must be a positive int", "", make_files(["a"], "train"), batch_size=batch_size
    )


@pytest.mark.parametrize("label_map", [[0, 1], 5, {"0": 1}, {0: 1.5}, {-1: 0}, {70000: 0}])
def test_bad_label_map(make_files, label_map):
    fails(
        ValueError,
        "label_map must be {id in the file: id}",
        "",
        make_files(["a"], "train"),
        label_map=label_map,
    )


@pytest.mark.parametrize("ignore_class", [1, (255, 0)])
def test_void_among_the_classes(make_files, ignore_class):
    root = make_files(["a"], "train")
    fails(
        ValueError,
        f"ignore_class={ignore_class}",
        "is one of the 3 classes",
        root,
        class_names=["a", "b", "c"],
        ignore_class=ignore_class,
    )


@pytest.mark.parametrize("content", [b"", b"road\nroad\n", "Straße".encode("latin-1")])
def test_bad_classes_txt(make_files, content):
    root = make_files(["a"], "train")
    (root / "classes.txt").write_bytes(content)
    fails(ValueError, root / "classes.txt", "expected", root)


def test_ids_that_cannot_be_numbered(make_files):
    root = make_files(["a"], "train", ids=(0, 255))
    fails(ValueError, root, r"ids are \[0, 255\], with gaps; .*label_map={255: 1}", root, ignore_class=None)
    fails(ValueError, root, "largest class id in the masks is -1", root, label_map={0: 255})
    every = make_files(["b"], "other", ids=range(100, 256))
    fails(ValueError, every, r"largest class id in the masks is 255 \(b.png\)", every, ignore_class=None)


@pytest.mark.parametrize("wide", [False, True])
def test_id_out_of_range_stops_iteration_by_name(make_files, png, wide):
    root = make_files(STEMS, "train", ids=(0, 1, 255))
    path = root / "train/masks/c.png"
    mask = np.full((12, 16), 300 if wide else 7)
    path.write_bytes(png(mask, bits=16 if wide else 8))
    dataset = from_directory(root, class_names=["a", "b"])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        arrays(dataset)
    assert re.search(rf"{re.escape(str(path))}.*{mask[0, 0]}.*label_map", str(caught.value))


@pytest.mark.parametrize("kind", ["no masks", "empty masks", "hidden", "empty images"])
def test_folders_without_masks_disturb_no_other_split(make_files, kind):
    root = make_files(["a", "b"], folder="train", ids=(0, 1, 2))
    make_files(["c"], folder="val", ids=(0, 1))
    images = root / (".Trash-1000" if kind == "hidden" else "test") / "images"
    images.mkdir(parents=True)
    if kind != "empty images":
        (images / "z.png").write_bytes((root / "val" / "images" / "c.png").read_bytes())
    if kind == "empty masks":
        (images.parent / "masks").mkdir()
    for split, count in (("train", 2), ("val", 1)):
        data = from_directory(root, split, batch_size=1)
        assert len(data) == count and data.num_classes == 3
    report = check(root)
    assert report.pairs == {"train": 2, "val": 1} and not report.problems
    told = {"hidden": [f"{root}: 1 hidden files and folders (.Trash-1000), passed over"], "empty images": []}
    assert report.notes == told.get(kind, [f"{images}: 1 pictures without masks, passed over"])
    assert all(note in str(report) for note in report.notes)


def test_the_split_that_is_asked_for_needs_its_masks(make_files):
    root = make_files(["a"], folder="train")
    (root / "test" / "images").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="test/masks: no such folder"):
        from_directory(root, "test")


def test_accents_pair_composed_and_taken_apart(make_files):
    root = make_files(["caf\u00e9"], folder="train")
    mask = root / "train" / "masks" / "caf\u00e9.png"
    mask.rename(mask.with_name("cafe\u0301.png"))
    data = from_directory(root, "train", batch_size=1, ignore_class=255)
    assert len(data) == 1 and data.mask_paths[0].endswith("cafe\u0301.png")


def test_files_pair_as_two_lists_say(make_files):
    root = make_files(["a", "b", "c"])
    images = [root / "images" / f"{stem}.png" for stem in "cab"]
    masks = [str(root / "masks" / f"{stem}.png") for stem in "cab"]
    data = from_files(images, masks, batch_size=None)
    assert data.image_paths == [str(path) for path in images] and data.mask_paths == masks
    for path, (image, mask) in zip(images, data.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(image, np.asarray(Image.open(path)))
        np.testing.assert_array_equal(mask, np.asarray(Image.open(root / "masks" / path.name)))
    assert data.class_names == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (["a.png"], [], "lists of one length, 1 or more, got 1 and 0"),
        ([], [], "lists of one length"),
        ("a.png", ["a.png"], "images must be a list of paths"),
        (7, ["a.png"], "images must be a list of paths"),
        (["a.png"], [3], "masks must be a list of paths"),
        (["a.png", "a.png"], ["a.png", "b.png"], "a.png: stands twice in images"),
    ],
)
def test_lists_that_do_not_pair(images, masks, words):
    with pytest.raises(ValueError, match=words):
        from_files(images, masks)


def test_a_listed_file_that_is_missing(make_files):
    root = make_files(["a"])
    with pytest.raises(FileNotFoundError, match=r"b\.png: no such file"):
        from_files([root / "images" / "b.png"], [root / "masks" / "a.png"])


def test_masks_of_another_kind_are_told_apart_from_none(make_files):
    root = make_files(["a"], folder="train")
    mask = root / "train" / "masks" / "a.png"
    np.save(mask.with_suffix(".npy"), np.asarray(Image.open(mask)))
    mask.rename(mask.with_suffix(".mat"))
    assert from_directory(root, "train", batch_size=1).mask_paths[0].endswith("a.npy")
    mask.with_suffix(".npy").unlink()
    with pytest.raises(ValueError, match=r"a\.png against no mask \(1 \.mat; .*\.png.* are read\)"):
        from_directory(root, "train")


def test_masks_that_cannot_be_read_are_not_passed_over(make_files):
    root = make_files(["a"], folder="train")
    make_files(["b"], folder="val")
    mask = root / "train" / "masks" / "a.png"
    mask.rename(mask.with_suffix(".mat"))
    with pytest.raises(ValueError, match=r"against no mask \(1 \.mat"):
        check(root)
