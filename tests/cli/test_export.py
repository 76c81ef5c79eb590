"""`kseg export`."""

import numpy as np
import pytest

import kseg


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("int8.tflite", ["--quantize", "int8", "--input-size", "48x64", "--mediapipe"]),
        ("float32.tflite", ["--input-size", "48x64"]),
        ("saved", []),
    ],
)
def test_export_prints_the_mean_iou_of_what_it_wrote(trained, shell, tmp_path, name, options):
    model, target = trained / "run" / "model.keras", tmp_path / name
    code, text, err = shell("export", model, target, "--data", trained / "data", *options)
    assert code == 0, err
    assert "mean IoU" in text and name in text
    assert target.exists()


def test_export_leaves_the_state_of_the_optimizer_out(trained, shell, refused, tmp_path):
    model, small = trained / "run" / "model.keras", tmp_path / "small.keras"
    code, text, err = shell("export", model, small)
    assert code == 0 and "small.keras: Keras, " in text, err
    assert small.stat().st_size < 0.6 * model.stat().st_size
    one, other = (kseg.load(path).get_weights() for path in (model, small))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert "exists already" in refused("export", model, small)
    words = "export", model, tmp_path / "a.keras"
    assert "are for paths that end in .tflite" in refused(*words, "--mediapipe")
    assert "--input-size is for" in refused(*words, "--input-size", "32x32")
    assert [path.name for path in tmp_path.iterdir()] == ["small.keras"]


def test_inspect_prints_what_a_file_tells_of_itself(exported, shell):
    code, text, _ = shell("export", "--inspect", exported[-1])
    assert code == 0 and "labels: class 0, class 1" in text and '"sha256"' in text


def test_export_refuses_in_one_line(trained, tmp_path, refused):
    model = trained / "run" / "model.keras"
    target = tmp_path / "m.tflite"
    assert "input_size=(H, W) is missing" in refused("export", model, target)
    arguments = ("export", model, target, "--input-size", "32x32", "--quantize", "int8")
    assert "representative_data is missing" in refused(*arguments)
    assert "MODEL and PATH are missing" in refused("export", model)
    assert "are for paths that end" in refused("export", model, tmp_path / "saved", "--mediapipe")
    layer = [*arguments[:5], "--float-layers", "1"]
    assert "float_layers is for --quantize int8" in refused(*layer)
    assert "no such file" in refused("export", tmp_path / "none.keras", target)
    assert list(tmp_path.iterdir()) == []
    target.write_bytes(b"mine")
    assert "exists already" in refused("export", model, target, "--input-size", "32x32")
    assert target.read_bytes() == b"mine"
