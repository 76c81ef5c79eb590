"""Real samples of awkward formats, each read, or refused by name, as it lies.

COCO, labelme, LabelMe and YOLO annotations among them are converted in test_annotation_formats.py.
"""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kseg.cli import main
from kseg.data import check, convert, from_directory, from_files, list_layouts

NAMES = ["background", "nucleus"]


@pytest.fixture
def samples(shared_data):
    return shared_data / "formats"


def read(*lists, **options):
    options = {"class_names": NAMES, "batch_size": 1, **options}
    return list(from_files(*lists, **options).as_numpy_iterator())


def beside(path, folder, value=1):
    """Write a mask of a picture's size."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        size = file.pages[0].shape[:2]
    mask = folder / "mask.png"
    Image.fromarray(np.full(size, value, "uint8")).save(mask)
    return mask


def raw(path, page=0):
    import tifffile

    return tifffile.imread(path, key=page).astype("float64")


# pictures


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rgba_uint16_geotiff", "holds 10000–10000 in 16 bits, 3 bands"),
        ("one_band_uint16_with_overview_page", "holds 1151–7859 in 16 bits"),
        ("ten_band_float32_reflectance_128", "holds -174–11317 in 32-bit floats, 10 bands"),
        ("grey_uint16_max235_nuclei", "holds 0–235 in 16 bits"),
        ("multipage_uint16_microscopy_31pages", "31 pictures in one file; name one by page=, 0 to 30"),
    ],
)
def test_a_deep_picture_says_what_it_holds(samples, tmp_path, name, words):
    path = samples / f"tiff/{name}.tif"
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)) as caught:
        read([path], [beside(path, tmp_path)])
    assert f"{path}: " in str(caught.value) and words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "low", "high", "channels"),
    [
        ("rgba_uint16_geotiff", 0, 10000, 3),
        ("one_band_uint16_with_overview_page", 1000, 8000, 3),
        ("ten_band_float32_reflectance_128", -200, 12000, 10),
        ("grey_uint16_max235_nuclei", 0, 235, 3),
    ],
)
def test_a_range_keeps_every_level(samples, tmp_path, name, low, high, channels):
    path = samples / f"tiff/{name}.tif"
    ((image, _),) = read([path], [beside(path, tmp_path)], value_range=(low, high))
    numbers = raw(path)
    numbers = numbers[..., None] if numbers.ndim == 2 else numbers[..., :channels]
    assert image.dtype == np.float32 and image.shape[-1] == channels
    expected = np.broadcast_to((numbers - low) * 255 / (high - low), image[0].shape)
    np.testing.assert_allclose(image[0], expected, rtol=1e-5, atol=1e-4)
    assert len(np.unique(image)) == len(np.unique(numbers))


def test_a_page_of_a_stack_is_read_with_that_of_its_mask(samples):
    image, mask = (
        samples / f"tiff/multipage_uint16_{kind}_31pages.tif" for kind in ("microscopy", "instance_mask")
    )
    options = {"value_range": (100, 340), "class_names": [str(number) for number in range(200)]}
    with pytest.raises(ValueError, match=r"instance_mask_31pages\.tif: 31 pictures in one file; name one"):
        read([samples / "rgb_colour_masks/images/tile1_002.jpg"], [mask])
    for page in (0, 17):
        ((pixels, ids),) = read([image], [mask], page=page, **options)
        np.testing.assert_allclose(
            pixels[0, ..., 0], np.minimum((raw(image, page) - 100) * 255 / 240, 255), atol=1e-3
        )
        np.testing.assert_array_equal(ids[0], raw(mask, page))
    with pytest.raises(ValueError, match="has 31 pages, 0 to 30, and page=31"):
        read([image], [mask], page=31, **options)


# masks


def test_a_mask_of_64_bits(samples, tmp_path):
    mask = samples / "tiff/int64_label_224.tif"
    Image.new("RGB", (224, 224)).save(tmp_path / "a.png")
    ((_, ids),) = read([tmp_path / "a.png"], [mask])
    np.testing.assert_array_equal(ids[0], raw(mask))


def test_colours_in_a_palette_and_in_rgb(samples):
    root = samples / "rgb_colour_masks"
    names, colors = [], {}
    for line in (root / "colours.csv").read_text().splitlines()[1:]:
        name, *color = line.split(",")
        names.append(name)
        colors[tuple(map(int, color))] = 255 if name == "unlabelled" else len(names) - 1
    images = sorted((root / "images").iterdir())
    masks = [root / f"masks/{path.stem}.png" for path in images]
    data = from_files(images, masks, colors=root / "colours.csv", batch_size=1)
    assert data.class_names == names[:-1] == ["water", "land", "road", "building", "vegetation"]
    modes = set()
    for path, (_, ids) in zip(data.mask_paths, data.as_numpy_iterator(), strict=True):
        with Image.open(path) as image:
            modes.add(image.mode)
            told = np.asarray(image.convert("RGB"))
        for color, id in colors.items():
            assert (ids[0][(told == color).all(-1)] == id).all()
    assert modes == {"P", "RGB"}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"tile1_002\.png: is a mask of \d colours"):
        read(images, masks, class_names=names[:-1])


def test_one_mask_per_class(samples):
    patterns = {"images": "*/*_RAW.jpg", "masks": "*/*_{class}.png", "batch_size": 1}
    data = from_directory(samples / "one_mask_per_class", "train", **patterns)
    assert data.class_names == ["background", "CRACK", "LANE", "POTHOLE"]
    names = ["background", "LANE", "CRACK", "POTHOLE"]  # the later lies above
    data = from_directory(samples / "one_mask_per_class", "train", class_names=names, **patterns)
    ((_, ids),) = data.as_numpy_iterator()
    assert [path[-8:-4] for path in data.mask_paths[0]] == ["LANE", "RACK", "HOLE"]
    expected = np.zeros(ids[0].shape, int)
    folder = (samples / "one_mask_per_class").glob("*/*_RAW.jpg")
    stem = next(path for path in folder if str(path) == data.image_paths[0]).with_suffix("").name[:-4]
    for number, name in enumerate(names[1:], 1):
        (path,) = (samples / "one_mask_per_class").glob(f"*/{stem}_{name}.png")
        expected[np.asarray(Image.open(path).convert("L")) > 0] = number
    np.testing.assert_array_equal(ids[0], expected)
    with pytest.raises(ValueError, match=r"_POTHOLE\.png: is a mask of none of the classes"):
        from_directory(samples / "one_mask_per_class", "train", class_names=names[:-1], **patterns)


# layouts


@pytest.mark.parametrize(
    ("folder", "layout", "options"),
    [
        ("voc", "voc", {"class_names": NAMES}),
        ("cityscapes_style", "cityscapes_train_ids", {"class_names": NAMES}),
        ("roboflow_semantic", "roboflow", {}),
    ],
)
def test_nuclei_in_layouts_are_what_their_masks_are(samples, folder, layout, options):
    root = samples / "nuclei_in_every_format"
    data = from_directory(root / folder, "val", batch_size=1, shuffle=False, **options)
    assert data.layout == layout and data.class_names == NAMES and len(data.image_paths) == 4
    truths = [np.asarray(Image.open(path)) for path in sorted((root / "truth").glob("*.png"))]
    for image, ids in data.as_numpy_iterator():
        known = ids[0] != 255  # VOC draws void about the objects
        assert known.mean() > 0.9
        assert any(t.shape == ids[0].shape and (t == ids[0])[known].all() for t in truths)
        assert image.shape[1:3] == ids[0].shape


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (
            "cityscapes_dataset/dataset",
            "has the pictures of the layout 'cityscapes', and no masks at gtFine/",
        ),
        ("voc_dataset", "voc_dataset1 has the layout 'voc': give that folder"),
    ],
)
def test_what_is_nearly_a_layout_is_told(samples, folder, words):
    with pytest.raises(FileNotFoundError) as caught:
        from_directory(samples / "datumaro" / folder)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("folder", "layout", "pairs", "problem"),
    [
        ("mapillary_vistas_dataset", "mapillary", {"train": 1, "val": 2}, None),
        (
            "cityscapes_dataset/train_dataset",
            "cityscapes_train_ids",
            {"train": 1, "val": 1, "test": 2},
            "ids begin with 1",
        ),
        ("camvid_dataset", "camvid", {"train": 1, "val": 1, "test": 2}, "tell what they mean by colors="),
        ("voc_dataset/voc_dataset1", "voc", {"train": 1}, "tell what they mean by colors="),
    ],
)
def test_samples_of_datumaro_are_found(samples, folder, layout, pairs, problem):
    report = check(samples / "datumaro" / folder)
    assert f"has the layout {layout!r}" in report.notes[0] and layout in list_layouts()
    assert report.pairs == pairs
    assert bool(report.problems) == (problem is not None)
    assert problem is None or any(problem in line for line in report.problems)


def test_a_test_list_without_masks_is_passed_over(samples):
    (note,) = check(samples / "datumaro/voc_dataset/voc_dataset1").notes[1:]
    assert note.endswith("1 pictures of 'test' without masks, passed over")


@pytest.mark.parametrize("source", ["", "obj.data"])
def test_boxes_of_darknet_are_refused_by_name(samples, tmp_path, source):
    with pytest.raises(
        ValueError, match=r"strict/obj\.data: is a list of Darknet, .* boxes without outlines"
    ):
        convert(samples / "datumaro/yolo_dataset/strict" / source, tmp_path / "o", "yolo")
    assert list(tmp_path.iterdir()) == []


# data sets


def trains(root, tmp_path, *options):
    output = tmp_path / root.name
    small = ["--model", "conv_stack", "--crop-size", "64x64", "--batch-size", "8", "--epochs", "1"]
    assert main(["train", "--data", str(root), "--output", str(output), *small, *options]) == 0
    return (output / "classes.txt").read_text().splitlines()


def test_dubai_trains_as_it_lies(shared_data, tmp_path):
    names = trains(shared_data / "dubai", tmp_path, "--augment", "light", "--cache", "memory")
    assert names == ["water", "land", "road", "building", "vegetation"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nuclei", "roads"])
def test_real_data_sets_train_as_they_lie(shared_data, tmp_path, name):
    names = trains(shared_data / name, tmp_path)
    assert names == (shared_data / name / "classes.txt").read_text().split()
