"""The deeds take paths as text too, and name files as they were given."""

import numpy as np
import pytest
from PIL import Image

import kseg
from kseg.commands.benchmark import benchmark
from kseg.commands.evaluate import evaluate_files
from kseg.commands.predict import predict_files
from kseg.commands.preparation import check_data


@pytest.fixture
def files(tmp_path):
    """Text: two models of one name, one of another, and a folder of data; the working folder is none."""
    paths = [tmp_path / "a" / "model.keras", tmp_path / "b" / "model.keras", tmp_path / "b" / "other.keras"]
    model = kseg.build_conv_stack(2, (8, 8, 3), depth=1, filters=2)
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        model.save(path)
    for kind, pixels in (("images", np.zeros((8, 8, 3), "uint8")), ("masks", np.eye(8, dtype="uint8"))):
        (tmp_path / "data" / "val" / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / "val" / kind / "one.png")
    return [str(path) for path in paths], str(tmp_path / "data")


def test_evaluation_names_text_paths(files):
    models, root = files
    told = []

    def progress(what):
        told.append(what)
        return lambda done, total: told.append((done, total))

    results = evaluate_files(models, root, class_names=["off", "on"], progress=progress)
    assert list(results) == [models[0], models[1], "other.keras"]
    assert told == [step for name in results for step in (f"evaluating {name}", (1, 1))]


def test_benchmark_takes_text_paths(files):
    models, _ = files
    assert [result.path for result in benchmark(models[1:], runs=1)] == models[1:]


def test_benchmark_runs_where_the_cores_are_not_known(files, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: None)
    (result,) = benchmark(files[0][:1], runs=1)
    assert list(result.milliseconds) == [1]


def test_prediction_and_check_take_text_paths(files, tmp_path):
    models, root = files
    predict_files(models[0], [f"{root}/val/images/one.png"], str(tmp_path / "out"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["one.png", "one_overlay.png"]
    assert check_data(root, {"class_names": ["off", "on"]}, None) == ["off", "on"]
