"""Pictures too large for memory: crops are those of the whole, and what cannot be read is named."""

import re
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

import kseg
from kseg.data import headers

rng = np.random.default_rng(0)

TILE = 512
SIDE = 30_000


def write_tiles(path, values, dtype, compression="zlib", bands=1):
    """Write a TIFF of `SIDE`² pixels: each tile of 512² holds one number, the file a few MB."""
    count = -(-SIDE // TILE)
    packed = {v: zlib.compress(np.full((TILE, TILE, bands), v, dtype).tobytes()) for v in set(values)}
    tifffile.imwrite(
        path,
        (packed[values[number % len(values)]] for number in range(count**2)),
        shape=(SIDE, SIDE, bands) if bands > 1 else (SIDE, SIDE),
        dtype=dtype,
        tile=(TILE, TILE),
        compression=compression,
        photometric="minisblack",
        planarconfig="contig" if bands > 1 else None,
    )


@pytest.fixture
def folder(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
    return tmp_path


def peak_of(make):
    """Return what a function returns, and the most bytes that Python and NumPy held meanwhile."""
    tracemalloc.start()
    try:
        return make(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_crops_of_a_picture_of_900_million_pixels_take_little_memory(folder, suffix):
    """The ids are those of the numbers in the picture, so each crop tells whether it lies right."""
    values = list(range(1, 246))
    if suffix == "tif":
        write_tiles(folder / "train/images/a.tif", [16 * v for v in values], "uint16", bands=2)
        write_tiles(folder / "train/masks/a.tif", [v % 3 for v in values], "uint8")
    else:
        for kind, dtype in (("images", "uint16"), ("masks", "uint8")):
            path = folder / "train" / kind / "a.npy"
            array = np.lib.format.open_memmap(path, "w+", dtype, (SIDE, SIDE, *[2] * (kind == "images")))
            array[14_000:14_010] = 16 if kind == "images" else 1  # the rest is a hole
            del array
    names = ["zero", "one", "two"]

    def crops():
        dataset = kseg.data.from_directory(
            folder,
            augment=kseg.data.augment((256, 256), scale=(1, 1), flip=False, color=0),
            value_range=(0, 4095),
            class_names=names,
            batch_size=4,
        )
        assert dataset.epochs.count == -(-(SIDE**2) // 256**2) == len(dataset.image_paths)
        assert len(dataset) == dataset.epochs.count // 4
        return [pair for images, masks in dataset.take(6) for pair in zip(images, masks, strict=True)]

    pairs, peak = peak_of(crops)
    assert peak < 60e6  # the picture has 3,600 MB
    for image, mask in pairs:
        assert image.shape == (256, 256, 2) and image.dtype == "float32"
        numbers = np.rint(image.numpy()[..., 0] * 4095 / 255 / 16).astype(int)
        np.testing.assert_array_equal(numbers % 3, mask)
    if suffix == "tif":
        assert len({image.numpy()[0, 0, 0] for image, _ in pairs}) > 12  # all over the picture


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.slow_after(1)
def test_numbers_that_need_the_whole_of_a_large_picture_come_of_windows(folder, weighted):
    write_tiles(folder / "train/images/a.tif", list(range(100, 3600)), "uint16")
    write_tiles(folder / "train/masks/a.tif", [0, 1, 2], "uint8")
    options = {"class_weights": [0, 0, 1]} if weighted else {}

    def first():
        augment = kseg.data.augment((256, 256), strength="strong", cutout=0, **options)
        dataset = kseg.data.from_directory(
            folder, augment=augment, value_range="percentiles", class_names=["a", "b", "c"], channels=1
        )
        return dataset.value_range, next(iter(dataset))

    (value_range, (_, masks)), peak = peak_of(first)
    assert peak < 150e6
    low, high = value_range
    assert 90 < low[0] < 400 and 3200 < high[0] < 3610
    if weighted:
        assert all((mask.numpy() == 2).any() for mask in masks)


@pytest.fixture
def small_is_large(monkeypatch):
    """Let every picture above 1,000 pixels count as too large for memory."""
    monkeypatch.setattr(headers, "MAX_PIXELS", 1000)


def write_pair(folder, name="a", size=(61, 83), bands=3, dtype="uint8", orientation=1, mask="tif"):
    pixels = rng.integers(0, 256, (*size, bands)).astype(dtype)
    ids = rng.integers(0, 4, size).astype("uint8")
    tags = [(274, "H", 1, orientation, True)]
    form = {"tile": (16, 16), "compression": "zlib", "extratags": tags}
    kind = {"photometric": "rgb" if bands == 3 else "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(folder / f"train/images/{name}.tif", pixels, **form, **kind)
    if mask == "tif":
        tifffile.imwrite(folder / f"train/masks/{name}.tif", ids, photometric="minisblack", **form)
    elif mask == "npy":
        np.save(folder / f"train/masks/{name}.npy", ids)
    else:
        Image.fromarray(ids).save(folder / f"train/masks/{name}.png")
    return pixels, ids


SETTINGS = {
    "crop": {"scale": (1, 1), "flip": False, "color": 0},
    "default": {},
    "strong": {"strength": "strong"},
    "tiny": {"scale": (0.3, 0.4), "perspective": 0.5, "rotation": 180},
}


@pytest.mark.parametrize("how", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize(("bands", "dtype", "orientation"), [(3, "uint8", 1), (5, "uint16", 6)])
def test_a_crop_is_to_the_bit_that_of_the_whole_picture(folder, monkeypatch, how, bands, dtype, orientation):
    write_pair(folder, bands=bands, dtype=dtype, orientation=orientation)
    augment = kseg.data.augment((16, 20), **how)
    options = {"value_range": (0, 300)} if dtype == "uint16" else {}
    options |= {"batch_size": None, "shuffle": False, "class_names": list("abcd")}
    (whole,) = kseg.data.from_directory(folder, **options)
    monkeypatch.setattr(headers, "MAX_PIXELS", 1000)
    dataset = kseg.data.from_directory(folder, augment=augment, **options)
    seeds = dataset.epochs.draws(0)
    assert len(seeds) > 1
    for (image, mask), seed in zip(dataset, seeds, strict=True):
        expected, ids = augment(*whole, seed)
        np.testing.assert_array_equal(image, expected)
        np.testing.assert_array_equal(mask, ids)


@pytest.mark.usefixtures("small_is_large")
def test_large_and_small_pictures_in_one_folder(folder):
    write_pair(folder, "a", (20, 30), mask="png")
    write_pair(folder, "b", (60, 80), mask="npy")
    write_pair(folder, "c", (40, 80))
    augment = kseg.data.augment((16, 16), scale=(0.5, 0.5))
    dataset = kseg.data.from_directory(folder, augment=augment, batch_size=None, shuffle=False)
    assert dataset.num_classes == 4  # counted, by windows
    names = [path[-5:-4] for path in dataset.image_paths]
    assert names == ["a"] + ["b"] * 5 + ["c"] * 4  # crops of 32² cover 4,800 and 3,200 pixels
    assert [path[-5:-4] for path in dataset.mask_paths] == names
    assert len(list(dataset)) == 10
    assert dataset.element_spec[0].shape == (16, 16, 3) and dataset.element_spec[1].shape == (16, 16)


@pytest.mark.usefixtures("small_is_large")
def test_a_large_picture_trains_and_every_epoch_draws_other_crops(folder):
    write_pair(folder, bands=2, dtype="uint16")
    given = kseg.data.from_files(
        [folder / "train/images/a.tif"],
        [folder / "train/masks/a.tif"],
        augment=kseg.data.augment((16, 16), strength="strong"),
        value_range=(0, 255),
        class_names=list("abcd"),
        shuffle=True,
        batch_size=4,
    )
    first, second = (np.concatenate([images for images, _ in given]) for _ in range(2))
    assert first.shape == second.shape and not np.array_equal(first, second)
    model = kseg.build_conv_stack(4, input_shape=(None, None, 2), depth=1, filters=2)
    kseg.compile(model, len(given), jit_compile=False)
    history = model.fit(given, epochs=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("augment", [None, lambda image, mask, seed: (image, mask)], ids=["none", "own"])
def test_without_crops_a_large_picture_is_refused_as_it_was(folder, augment):
    write_pair(folder)
    refused(folder, "images/a.tif", "cut it into tiles", augment=augment)


@pytest.mark.usefixtures("small_is_large")
def test_large_pictures_that_have_no_windows_are_refused(folder):
    write_pair(folder, mask="png")
    augment = kseg.data.augment((16, 16))
    refused(folder, "masks/a.png", "save it as a tiled TIFF or .npy", augment=augment)
    refused(folder, "images/a.tif", "cut it into tiles", augment=augment, image_size=(32, 32))
    (folder / "train/images/a.tif").unlink()
    Image.new("RGB", (83, 61)).save(folder / "train/images/a.png")
    refused(folder, "images/a.png", "save it as a tiled TIFF or .npy", augment=augment)
    assert any("cut it into tiles" in each for each in kseg.data.check(folder).problems)


def refused(folder, name, *words, **options):
    with pytest.raises(ValueError, match=f"{re.escape(name)}: has more than 1,000 pixels") as caught:
        kseg.data.from_directory(folder, class_names=list("abcd"), **options)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.usefixtures("small_is_large")
def test_pieces_that_are_too_large_are_refused(folder, monkeypatch):
    write_pair(folder)
    pixels = rng.integers(0, 256, (61, 83), dtype="uint8")
    tifffile.imwrite(folder / "train/images/a.tif", pixels, compression="zlib", rowsperstrip=61)
    monkeypatch.setattr("kseg.data.segments._LARGEST", 61 * 83 - 1)
    with pytest.raises(ValueError, match=r"images/a\.tif: its pixels lie in pieces of 83×61.*in tiles"):
        kseg.data.from_directory(folder, class_names=list("abcd"), augment=kseg.data.augment((16, 16)))


@pytest.mark.usefixtures("small_is_large")
def test_deep_numbers_without_a_range_tell_what_windows_hold(folder):
    pixels, _ = write_pair(folder, bands=4, dtype="uint16")
    with pytest.raises(ValueError, match=rf"a\.tif: holds {pixels.min()}–{pixels.max()} in 16 bits, 4 bands"):
        kseg.data.from_directory(folder, class_names=list("abcd"), augment=kseg.data.augment((16, 16)))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("change", ["vanished", "other size", "damaged"])
def test_a_large_file_that_changes_is_named(folder, kind, change):
    write_pair(folder)
    augment = kseg.data.augment((16, 16))
    dataset = kseg.data.from_directory(folder, class_names=list("abcd"), augment=augment, batch_size=1)
    path = folder / "train" / kind / "a.tif"
    content = path.read_bytes()
    path.unlink()
    if change == "other size":
        write_pair(folder, size=(70, 90))
    elif change == "damaged":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception, match=rf"{kind}/a\.tif|images/a\.tif: has 90×70 pixels now"):
        list(dataset)


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize("form", ["bits", "palette", "colors", "16 bits"])
def test_large_masks_in_any_form(folder, form):
    pixels, ids = write_pair(folder)
    colors, options = rng.permutation(255)[:12].reshape(4, 3).astype("uint8"), {}
    packed = {"tile": (16, 16), "compression": "zlib"}
    path = folder / "train/masks/a.tif"
    if form == "bits":
        tifffile.imwrite(path, ids % 2 == 1, photometric="minisblack", **packed)
        ids = ids % 2
    elif form == "palette":
        table = np.zeros((3, 256), "uint16")
        tifffile.imwrite(path, ids, photometric="palette", colormap=table, **packed)
    elif form == "colors":
        tifffile.imwrite(path, colors[ids], photometric="rgb", **packed)
        options = {"colors": dict(zip("abcd", map(tuple, colors.tolist()), strict=True))}
    else:
        tifffile.imwrite(path, ids.astype("uint16") + 1, photometric="minisblack", **packed)
        options = {"label_map": {1: 0, 2: 1, 3: 2, 4: 3}}
    options.setdefault("class_names", list("abcd"))
    augment = kseg.data.augment((61, 83), scale=(1, 1), flip=False, color=0)
    dataset = kseg.data.from_directory(folder, augment=augment, batch_size=None, **options)
    for image, mask in dataset:
        np.testing.assert_array_equal(image, pixels)
        np.testing.assert_array_equal(mask, ids)


@pytest.mark.usefixtures("small_is_large")
def test_large_masks_of_floats_are_refused(folder):
    write_pair(folder)
    tifffile.imwrite(folder / "train/masks/a.tif", np.zeros((61, 83), "float32"), tile=(16, 16))
    with pytest.raises(
        ValueError, match=r"masks/a\.tif: a mask has one channel of class ids, this is floats"
    ):
        kseg.data.from_directory(folder, class_names=["a"], augment=kseg.data.augment((16, 16)))
