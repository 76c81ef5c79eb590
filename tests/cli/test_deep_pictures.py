"""Pictures of any bands and depth, trained, evaluated, exported and predicted: their range is said once."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

import kseg

DEPTHS = {"12 bits": ("uint16", 4095, "0,4095"), "16 bits": ("uint16", 65535, "dtype")}
DEPTHS["floats"] = ("float32", 0.9, "percentiles")
BANDS = (1, 2, 4, 13)
QUICK = [(13, "12 bits")]
SLOW = [(bands, depth) for bands in BANDS for depth in DEPTHS if (bands, depth) not in QUICK]


def write_pictures(root, bands, depth, counts=(("train", 8), ("val", 3))):
    """Write TIFFs of two classes, dark and bright, with their masks."""
    dtype, high, _ = DEPTHS[depth]
    rng = np.random.default_rng(bands)
    form = {"planarconfig": "contig"} if bands > 1 else {}
    for split, count in counts:
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((32, 32), "uint8")
            mask[:, rng.integers(8, 24) :] = 1
            shares = 0.3 * rng.random((32, 32, bands)) + 0.6 * mask[..., None]
            pixels = (shares * high).astype(dtype)
            pixels = pixels if bands > 1 else pixels[..., 0]
            tifffile.imwrite(
                root / split / "images" / f"{index}.tif", pixels, photometric="minisblack", **form
            )
            Image.fromarray(mask).save(root / split / "masks" / f"{index}.png")
    return root


def trained(shell, folder, bands, depth):
    """Train for one epoch by `kseg train`; return the data, the model and its range."""
    root = write_pictures(folder / "data", bands, depth)
    words = ["--model", "conv_stack", "--epochs", 1, "--batch-size", 2, "--value-range", DEPTHS[depth][2]]
    words += ["--channels", 1] if bands == 1 else []
    code, text, err = shell("train", "--data", root, "--output", folder / "run", *words)
    assert code == 0, text + err
    model = folder / "run" / "model.keras"
    return root, model, kseg.inference.open_model(model).value_range.as_tuple()


def by_hand(model, path, value_range):
    """The ids of a model for the numbers of a file, brought to 0–255 in float64."""
    numbers = tifffile.imread(path).astype("float64")
    low, high = (np.asarray(end) for end in value_range)
    shares = (numbers.reshape(*numbers.shape[:2], -1) - low) / (high - low)
    return kseg.predict(model, (255 * np.clip(shares, 0, 1)).astype("float32"))


@pytest.mark.parametrize(
    ("bands", "depth"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW)]
)
def test_the_file_gives_the_mask_of_the_model_on_the_raw_file(shell, pixels, tmp_path, bands, depth):
    root, model, value_range = trained(shell, tmp_path, bands, depth)
    assert np.shape(value_range[0]) == ((bands,) if DEPTHS[depth][2] == "percentiles" else ())
    raw, file = root / "val" / "images" / "0.tif", tmp_path / "m.tflite"
    expected = by_hand(model, raw, value_range)
    assert set(np.unique(expected)) == {0, 1}  # a mask of one class would prove little
    code, text, err = shell("export", model, file, "--data", root, "--input-size", "32x32")
    assert code == 0 and "picture files hold" in text, err
    code, text, err = shell("evaluate", model, file, "--data", root)
    assert code == 0, err
    code, _, err = shell("predict", file, raw, "--output", tmp_path / "out")
    assert code == 0, err
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "0.png"), expected)
    assert pixels(tmp_path / "out" / "0_overlay.png").shape[-1] == 3
    scores = kseg.evaluate(
        model, kseg.data.from_directory(root, "val", batch_size=1, **said(bands, value_range))
    )
    assert f"{scores.mean_iou:.4f}" in text


def said(bands, value_range):
    return {"channels": bands, "value_range": value_range}


@pytest.mark.slow  # three conversions
def test_every_kind_of_file_reads_the_raw_file(shell, pixels, tmp_path):
    root, model, value_range = trained(shell, tmp_path, 13, "floats")
    raw = root / "val" / "images" / "1.tif"
    expected = by_hand(model, raw, value_range)
    for name in ("saved", "m.onnx"):
        code, _, err = shell("export", model, tmp_path / name, "--data", root)
        assert code == 0, err
        code, _, err = shell("predict", tmp_path / name, raw, "--output", tmp_path / f"of_{name}")
        assert code == 0, err
        np.testing.assert_array_equal(pixels(tmp_path / f"of_{name}" / "1.png"), expected)


def test_an_int8_file_says_in_itself_that_8_bits_remain(shell, pixels, tmp_path):
    root, model, value_range = trained(shell, tmp_path, 2, "12 bits")
    raw, file = root / "val" / "images" / "1.tif", tmp_path / "m.tflite"
    words = ["--data", root, "--input-size", "32x32", "--quantize", "int8"]
    code, text, err = shell("export", model, file, *words)
    assert code == 0 and "this file takes 0–255, in 8 bits" in text, err
    (tmp_path / "m.tflite.json").unlink()  # a phone has the file alone
    code, text, err = shell("export", "--inspect", file)
    assert (
        code == 0 and "picture files hold [0.0, 4095.0]" in text and "8 bits of their numbers remain" in text
    )
    code, _, err = shell("predict", file, raw, "--output", tmp_path / "out")
    assert code == 0, err
    same = pixels(tmp_path / "out" / "1.png") == by_hand(model, raw, value_range)
    assert same.mean() > 0.95


@pytest.mark.parametrize("bands", [3, 4])
def test_a_model_without_a_range_names_the_mend_and_writes_nothing(refused, tmp_path, bands):
    root = write_pictures(tmp_path / "data", bands, "12 bits")
    raw, model, out = root / "val/images/0.tif", tmp_path / "m.keras", tmp_path / "out"
    kseg.build_conv_stack(2, input_shape=(None, None, bands), depth=1, filters=2).save(model)
    line = refused("predict", model, raw, "--output", out)
    assert "0.tif: holds" in line and "in 16 bits" in line
    assert "m.keras keeps no range of its picture files" in line
    assert "kseg train --value-range" in line and "kseg.with_value_range(model, (" in line
    assert "value_range=" not in line and not out.exists()


@pytest.mark.parametrize("bands", [1, 3, 13])
def test_check_suggests_the_range_that_is_then_right(shell, tmp_path, bands):
    root = write_pictures(tmp_path / "data", bands, "12 bits")
    code, text, _ = shell("check", "--data", root)
    assert code == 3 and "0.tif: holds" in text
    code, text, _ = shell("check", "--data", root, "--json")
    (said,) = [each for each in json.loads(text)["suggestions"] if "value-range" in each]
    numbers = np.stack([tifffile.imread(path) for path in root.glob("*/images/*.tif")])
    assert said == f"--value-range={numbers.min()},{numbers.max()}"
    assert shell("check", "--data", root, said)[0] == 0
