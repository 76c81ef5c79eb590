import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg import child
from kseg.child import rewriting

pytestmark = pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here


def test_a_relu_that_stands_alone_stays_in_xnnpack(tmp_path, monkeypatch):
    image = keras.Input((32, 40, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(image)
    y = keras.layers.Conv2D(8, 3, padding="same", name="second")(keras.layers.ReLU()(x))
    x = keras.layers.Add()([x, y])  # read with and without what activates it
    y = keras.layers.Conv2D(8, 1, name="third")(keras.layers.ReLU(6.0)(x))
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="scores")(keras.layers.Add()([x, y])))
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3)).astype("uint8")
    arguments = {"quantize": "int8", "representative_data": pictures}
    report = kseg.export_tflite(model, tmp_path / "with.tflite", **arguments)
    assert not {"RELU", "RELU6"} & set(report.operators) and set(report.not_on_xnnpack) <= {"QUANTIZE"}
    content = (tmp_path / "with.tflite").read_bytes()
    assert rewriting.rewritten(content) is content

    monkeypatch.setattr(child, "call", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(rewriting, "end_adds_in_relus", lambda model, schema: 0)
    without = kseg.export_tflite(model, tmp_path / "without.tflite", **arguments)
    assert without.operators["RELU"] == without.operators["RELU6"] == 1
    scores = [_run(tmp_path / name, pictures[:1])[1] for name in ("with.tflite", "without.tflite")]
    assert np.abs(scores[0] - scores[1]).max() <= 1


@pytest.mark.parametrize("mode", [None, "float16", "int8"])
def test_taps_that_only_see_padding_are_left_out(mode, tmp_path, monkeypatch):
    image = keras.Input((16, 24, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    rates = (15, 16, 24)  # all nine taps; three, the rows fall away; one
    branches = [keras.layers.Conv2D(8, 3, dilation_rate=rate, padding="same")(x) for rate in rates]
    branches.append(keras.layers.DepthwiseConv2D(3, dilation_rate=30, padding="same")(x))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()(branches)))
    pictures = np.random.default_rng(0).integers(0, 256, (6, 16, 24, 3)).astype("uint8")
    arguments = {"quantize": mode, "representative_data": pictures if mode == "int8" else None}
    kseg.export_tflite(model, tmp_path / "with.tflite", **arguments)
    content = (tmp_path / "with.tflite").read_bytes()
    assert rewriting.rewritten(content) is content

    monkeypatch.setattr(child, "call", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(rewriting, "drop_idle_taps", lambda model, schema: 0)
    kseg.export_tflite(model, tmp_path / "without.tflite", **arguments)
    file, scores = _run(tmp_path / "with.tflite", pictures[:1])
    before, expected = _run(tmp_path / "without.tflite", pictures[:1])
    assert np.abs(scores - expected).max() <= (1 if mode == "int8" else 1e-5 * np.ptp(expected))
    assert _kernel_sizes(file) == [[1, 1], [1, 1], [1, 1], [1, 3], [3, 3], [3, 3]]
    assert _kernel_sizes(before) == [[1, 1]] + 5 * [[3, 3]]


def _run(path, picture):
    """Return the interpreter of a file and its scores of a picture."""
    file = Interpreter(str(path))
    file.allocate_tensors()
    (given,), (made,) = file.get_input_details(), file.get_output_details()
    file.set_tensor(given["index"], picture.astype(given["dtype"]))
    file.invoke()
    return file, file.get_tensor(made["index"]).astype("float32")


def _kernel_sizes(file):
    convolutions = [each for each in file._get_ops_details() if "CONV_2D" in each["op_name"]]
    return sorted(
        file._get_tensor_details(each["inputs"][1], 0)["shape"].tolist()[1:3] for each in convolutions
    )
