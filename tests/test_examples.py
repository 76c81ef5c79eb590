"""The examples load, say how to run them, and the one for a user's own folder runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.data.shapes import scene
from kseg.export.verification import Tolerance

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.rglob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_how_to_run_it(path):
    module = load(path)
    assert f"python {path.relative_to(FOLDER.parent)}" in module.__doc__
    assert "ata" in module.__doc__ and "cores" in module.__doc__  # what data, what time
    assert callable(module.main)


@pytest.mark.slow
def test_folder_to_phone_runs(tmp_path, monkeypatch):
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = scene(index, (40, 48), seed=count)
            Image.fromarray(image).save(tmp_path / split / "images" / f"{index}.png")
            Image.fromarray(mask.astype("uint8")).save(tmp_path / split / "masks" / f"{index}.png")
    (tmp_path / "classes.txt").write_text("\n".join("abcdef"))
    example = load(FOLDER / "folder_to_phone.py")
    example.EPOCHS, example.CROP = 1, (32, 32)
    monkeypatch.setattr(sys, "argv", ["folder_to_phone.py", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "kseg.export.verification.TOLERANCES",
        {"int8": Tolerance(None, 1.0, 0.0)},  # one step decides nothing
    )
    example.main()
    assert np.asarray(Image.open("overlay.png")).shape[0] == 40
    assert Path("int8.tflite").stat().st_size > 1000


def test_augmented_samples_shows_a_row_for_each_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["augmented_samples.py", "--crop-size", "48"])
    monkeypatch.chdir(tmp_path)
    load(FOLDER / "augmented_samples.py").main()
    sheet = np.asarray(Image.open("augmented_samples.png"))
    assert sheet.shape == (5 * 52 - 4, 7 * 52 - 4, 3)
    tiles = [sheet[y : y + 48, x : x + 48] for y in range(0, 256, 52) for x in range(52, 360, 52)]
    assert len({tile.tobytes() for tile in tiles}) > 25  # draws differ, and rows


@pytest.mark.slow
def test_the_benchmark_of_augmentation_runs(tmp_path, monkeypatch, capsys):
    example = load(FOLDER / "benchmarks/augmentation.py")
    example.GENERATED = 16
    monkeypatch.setattr(sys, "argv", ["augmentation.py", "--rounds", "1"])
    example.main()
    assert "kseg, cached in memory" in capsys.readouterr().out


@pytest.mark.slow
def test_train_on_bands_runs(tmp_path, monkeypatch, capsys):
    example = load(FOLDER / "train_on_bands.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_on_bands.py", "--epochs", "2"])
    example.main()
    assert "for 100.00% of the pixels" in capsys.readouterr().out
    (low, high) = kseg.inference.open_model("bands.tflite").value_range.as_tuple()
    assert len(low) == 13 and max(high) < 6000


def test_the_scenes_of_bands_are_of_13_bands_and_sound(tmp_path):
    example = load(FOLDER / "train_on_bands.py")
    example.make_data(tmp_path, {"train": 2, "val": 1}, size=(40, 48))
    report = kseg.data.check(tmp_path, value_range="percentiles")
    assert report.problems == [] and report.class_names == example.NAMES
    assert kseg.data.from_directory(tmp_path, "val", value_range="percentiles").channels == 13


def test_a_worker_of_ray_segments_what_it_is_handed(tmp_path):
    kseg.build_conv_stack(3, depth=1, filters=4).save(tmp_path / "m.keras")
    Image.new("RGB", (20, 16)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("none")
    worker = load(FOLDER / "predict_with_ray.py").Segmenter(str(tmp_path / "m.keras"), str(tmp_path / "out"))
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    found = worker({"name": ["inner/a.png", "b.png"], "path": paths})
    assert found["problem"][0] == ""
    assert "b.png: cannot be read" in found["problem"][1]
    assert (tmp_path / "out" / "inner" / "a.png").is_file()
