"""`kseg demo`."""

import pytest

import kseg
from kseg.cli import main
from kseg.commands.demo import demo
from kseg.litert.metadata import read_metadata


@pytest.mark.slow
def test_demo_leaves_every_file_and_compares_them(tmp_path, capsys):
    results = demo(tmp_path / "demo", train_scenes=24, held_out_scenes=20, epochs=1, filters=2)
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    files = ["model.keras", "saved_model", "float32.tflite", "float16.tflite", "int8.tflite"]
    reports = [f"{name}.json" for name in files if name.endswith(".tflite")]
    assert names == {*files, *reports, "predictions.png", "classes.txt"}
    assert list(results) == files
    classes = kseg.data.shapes(1).class_names
    assert (tmp_path / "demo" / "classes.txt").read_text().splitlines() == classes
    assert (tmp_path / "demo" / "saved_model" / "assets" / "labels.txt").read_text().splitlines() == classes
    for name in files[2:]:
        assert read_metadata(tmp_path / "demo" / name).labels == classes
    out = capsys.readouterr().out
    lines = [line.split("  ")[0] for line in out.splitlines()]
    told = [
        "demo: first step: building the graph, may take a minute",
        "demo: epoch 1/1",
        "writing model.keras",
    ]
    told += [f"exporting and verifying {name}" for name in files[1:]]
    told += [f"evaluating {name}" for name in files]
    assert [line for line in lines if line in told] == told
    assert "mean IoU" in out and "ms/picture" in out
    with pytest.raises(FileExistsError, match="exists already"):
        demo(tmp_path / "demo")


@pytest.mark.parametrize(
    ("words", "scenes", "held_out", "epochs"),
    [
        ([], 2000, 200, 11),
        (["--epochs", "3"], 2000, 200, 3),
        (["--quick"], 800, 50, 8),
        (["--quick", "--epochs", "3"], 800, 50, 3),
    ],
)
def test_quick_is_less_of_the_same(monkeypatch, tmp_path, words, scenes, held_out, epochs):
    def begun(**asked):
        raise LookupError(asked)

    monkeypatch.setattr("kseg.commands.demo._train", begun)
    with pytest.raises(LookupError) as caught:
        main(["demo", "--debug", "--output", str(tmp_path / "demo"), *words])
    expected = {
        "train_scenes": scenes,
        "held_out_scenes": held_out,
        "epochs": epochs,
        "filters": 8,
        "seed": 0,
        "run": "demo",
    }
    assert caught.value.args == (expected,)


@pytest.mark.slow
def test_a_quick_demo_writes_the_same_files(tmp_path, capsys):
    assert main(["demo", "--quick", "--output", str(tmp_path / "demo"), "--epochs", "1"]) == 0
    names = {file.name for file in (tmp_path / "demo").iterdir()}
    assert {"model.keras", "saved_model", "float32.tflite", "int8.tflite", "predictions.png"} <= names
    assert "IoU on 50 scenes the model never saw" in capsys.readouterr().out
