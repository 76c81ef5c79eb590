import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.tools import flatbuffer_utils

import kseg
from kseg import sandbox
from kseg.litert import conversion, int8_ranges, passes
from kseg.litert.graph import parsed
from kseg.litert.passes import large_kernels

pytestmark = pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here


def test_a_relu_that_stands_alone_stays_in_xnnpack(tmp_path, monkeypatch):
    image = keras.Input((32, 40, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", name="first")(image)
    y = keras.layers.Conv2D(8, 3, padding="same", name="second")(keras.layers.ReLU()(x))
    x = keras.layers.Add()([x, y])  # read with and without what activates it
    y = keras.layers.Conv2D(8, 1, name="third")(keras.layers.ReLU(6.0)(x))
    model = keras.Model(image, keras.layers.Conv2D(3, 1, name="scores")(keras.layers.Add()([x, y])))
    report, scores, expected = _with_and_without("end_adds_in_relus", model, "int8", tmp_path, monkeypatch)
    assert not {"RELU", "RELU6"} & set(report.operators) and set(report.not_on_xnnpack) <= {"QUANTIZE"}
    kinds = [each["op_name"] for each in _opened(tmp_path / "without.tflite")._get_ops_details()]
    assert kinds.count("RELU") == kinds.count("RELU6") == 1
    assert np.abs(scores - expected).max() <= 1


@pytest.mark.parametrize("mode", [None, "float16", "int8"])
@pytest.mark.slow_after(1)
def test_taps_that_only_see_padding_are_left_out(mode, tmp_path, monkeypatch):
    image = keras.Input((16, 24, 3), name="image")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    rates = (15, 16, 24)  # all nine taps; three, the rows fall away; one
    branches = [keras.layers.Conv2D(8, 3, dilation_rate=rate, padding="same")(x) for rate in rates]
    branches.append(keras.layers.DepthwiseConv2D(3, dilation_rate=30, padding="same")(x))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()(branches)))
    _, scores, expected = _with_and_without("drop_idle_taps", model, mode, tmp_path, monkeypatch)
    difference = np.abs(scores - expected)  # int8 scales the taps that are left
    assert difference.mean() < 0.5 if mode == "int8" else difference.max() <= 1e-5 * np.ptp(expected)
    assert _kernel_sizes(tmp_path / "with.tflite") == [[1, 1], [1, 1], [1, 1], [1, 3], [3, 3], [3, 3]]
    assert _kernel_sizes(tmp_path / "without.tflite") == [[1, 1]] + 5 * [[3, 3]]


def convolved(other, layers):
    """Return a model that normalises, does as told, and convolves on to three scores."""
    image = keras.Input((32, 40, 3), name="image")
    features = image
    for layer in layers:
        features = layer(features)
    branches = [keras.layers.Conv2D(4, 3, padding="same")(features), other(features)]
    return keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()(branches)))


TO_ONE = keras.layers.Rescaling(1 / 127.5, offset=-1.0)
NORMALIZATIONS = {
    "the factor and the shift": [TO_ONE],
    "one of each per channel": [keras.layers.Rescaling([0.017, 0.018, -0.019], offset=[-2.1, -2.0, 1.8])],
    "padding": [TO_ONE, keras.layers.ZeroPadding2D(2)],
    "padding below what pictures show": [
        keras.layers.Rescaling(1 / 127.5, 1.0),
        keras.layers.ZeroPadding2D(2),
    ],
}


MORE_MODES = ("float16", "dynamic")
MODES = [(name, mode) for mode in (None, "float16", "int8") for name in NORMALIZATIONS]
QUICK = [*MODES[: len(NORMALIZATIONS)], ("the factor and the shift", "float16")]
QUICK += [("one of each per channel", "int8"), ("padding below what pictures show", "int8")]


@pytest.mark.parametrize(
    ("name", "mode"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in MODES],
)
@pytest.mark.slow_after(2)
def test_the_factor_of_the_normalization_goes_into_the_kernels(name, mode, tmp_path, monkeypatch):
    keras.utils.set_random_seed(0)
    other = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")
    model = convolved(other, NORMALIZATIONS[name])
    folded, scores, expected = _with_and_without("fold_scale", model, mode, tmp_path, monkeypatch)
    assert ("MUL" in folded.operators) == (mode == "float16")  # its kernels are not in float32
    difference = np.abs(scores - expected)
    assert difference.mean() < 0.5 if mode == "int8" else difference.max() <= 1e-5 * np.ptp(expected)


def enlarged(factor=2, interpolation="nearest"):
    """Return a model that enlarges twice, once what is read elsewhere too, once the scores themselves."""
    image = keras.Input((16, 24, 3), name="image")
    x = keras.layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    y = kseg.layers.Upsample(factor, interpolation)(x)
    y = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(y)
    x = keras.layers.Conv2D(4, 2, strides=2, padding="same")(x)
    x = kseg.layers.Upsample(2 * factor, "bilinear")(x)
    scores = keras.layers.Conv2D(3, 1)(keras.layers.Concatenate()([x, y]))
    return keras.Model(image, kseg.layers.Upsample(factor, interpolation)(scores))


@pytest.mark.parametrize(
    "mode", [None, "int8", *(pytest.param(m, marks=pytest.mark.slow) for m in MORE_MODES)]
)
@pytest.mark.slow_after(1)
def test_doubling_to_the_nearest_stays_in_xnnpack(mode, tmp_path, monkeypatch):
    report, scores, expected = _with_and_without("double_by_copies", enlarged(), mode, tmp_path, monkeypatch)
    assert report.operators["DEPTH_TO_SPACE"] == 2 and "RESIZE_NEAREST_NEIGHBOR" not in report.operators
    assert set(report.not_on_xnnpack) <= {"QUANTIZE"}
    kinds = [each["op_name"] for each in _opened(tmp_path / "without.tflite")._get_ops_details()]
    assert kinds.count("RESIZE_NEAREST_NEIGHBOR") == 2
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        (enlarged(factor=3), None),
        (enlarged(interpolation="bilinear"), None),
        pytest.param(enlarged(), "int16x8", marks=pytest.mark.slow),
    ],
    ids=["threefold", "bilinear", "int16x8"],
)
@pytest.mark.slow_after(1)
def test_other_resizes_stay(model, mode, tmp_path, monkeypatch):
    report, scores, expected = _with_and_without("double_by_copies", model, mode, tmp_path, monkeypatch)
    assert "DEPTH_TO_SPACE" not in report.operators
    np.testing.assert_array_equal(scores, expected)


CONV = keras.layers.Conv2D(4, 3, padding="same")
FAR_APART = keras.layers.Rescaling([1e-2, 1e-2, 1e-4], offset=[-1, -1, 1])
KEPT = {
    "read by a pooling": [keras.layers.AveragePooling2D(3, 1, padding="same"), [TO_ONE]],
    "read by an activation": [keras.layers.ReLU(), [TO_ONE]],
    "in groups": [keras.layers.Conv2D(6, 3, groups=3, padding="same"), [TO_ONE]],
    "a kernel of two": [lambda x: CONV(CONV(x)[..., :3]), [TO_ONE]],
    "channels far apart": [CONV, [FAR_APART]],
    "next to nothing": [CONV, [keras.layers.Rescaling(1e-39, 1.0)]],
}


@pytest.mark.parametrize(("other", "layers"), KEPT.values(), ids=KEPT)
@pytest.mark.slow_after(2)
def test_the_factor_stays_where_a_kernel_cannot_take_it(other, layers, tmp_path, monkeypatch):
    model = convolved(other, layers)
    report, scores, expected = _with_and_without("fold_scale", model, None, tmp_path, monkeypatch)
    assert report.operators["MUL"] == 1
    np.testing.assert_array_equal(scores, expected)


def _with_and_without(name, model, mode, folder, monkeypatch):
    """Export with and without one of the rewritings; return the first report and the scores of both files."""
    pictures = np.random.default_rng(0).integers(0, 256, (6, *model.input_shape[1:])).astype("uint8")
    arguments = {"quantize": mode, "representative_data": pictures if mode in ("int8", "int16x8") else None}
    converted = []

    def rewritten(content, skipped):
        converted.append(content)
        return passes.rewritten(content, skipped)

    monkeypatch.setattr(sandbox, "call", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(conversion, "rewritten", rewritten)
    report = kseg.export_tflite(model, folder / "with.tflite", **arguments)
    content = (folder / "with.tflite").read_bytes()
    assert passes.rewritten(content) is content  # nothing is left to gain
    monkeypatch.setattr(passes, name, lambda graph: 0)
    if mode == "int8":  # what is rewritten is still to be quantized
        kseg.export_tflite(model, folder / "without.tflite", **arguments)
    else:
        (folder / "without.tflite").write_bytes(passes.rewritten(*converted))
    return report, *(_run(folder / f"{each}.tflite", pictures[:1]) for each in ("with", "without"))


def _run(path, picture):
    """Return the scores a file gives for a picture."""
    file = _opened(path)
    (given,), (made,) = file.get_input_details(), file.get_output_details()
    file.set_tensor(given["index"], picture.astype(given["dtype"]))
    file.invoke()
    return file.get_tensor(made["index"]).astype("float32")


def _opened(path):
    file = Interpreter(str(path))
    file.allocate_tensors()
    return file


def _kernel_sizes(path):
    file = _opened(path)
    convolutions = [each for each in file._get_ops_details() if "CONV_2D" in each["op_name"]]
    return sorted(
        file._get_tensor_details(each["inputs"][1], 0)["shape"].tolist()[1:3] for each in convolutions
    )


def _raise(*_):
    raise AttributeError("'NoneType' object has no attribute 'dilationHFactor'")


PASSES = ["join_dilations", "fold_scale", "end_adds_in_relus", "drop_idle_taps", "double_by_copies"]


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.slow_after(2)
def test_a_pass_that_cannot_read_a_file_leaves_it_to_the_others(name, tmp_path, monkeypatch, in_process):
    monkeypatch.setattr(passes, name, _raise)
    model = convolved(keras.layers.Conv2D(4, 3, padding="same", dilation_rate=40), [TO_ONE])
    report = kseg.export_tflite(model, tmp_path / "m.tflite")
    told = f"{name}: AttributeError: 'NoneType' object has no attribute 'dilationHFactor'"
    assert report.skipped_passes == [told] and f"not made faster by: {told}" in str(report)
    assert ("MUL" in report.operators) == (name == "fold_scale")
    assert ([1, 1] in _kernel_sizes(tmp_path / "m.tflite")[1:]) == (name != "drop_idle_taps")


@pytest.mark.parametrize("mode", [None, "int8"])
@pytest.mark.slow_after(1)
def test_what_no_pass_can_read_is_exported_as_the_converter_wrote_it(mode, tmp_path, monkeypatch, in_process):
    for module in (passes, large_kernels, int8_ranges, conversion):
        monkeypatch.setattr(module, "parsed", _raise)
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 40, 3)).astype("uint8")
    model = convolved(keras.layers.Conv2D(4, 3, padding="same"), [TO_ONE])
    given = {"quantize": mode, "representative_data": pictures if mode else None}
    report = kseg.export_tflite(model, tmp_path / "m.tflite", **given)
    ranges = ["narrow_ranges", "layers in float"] if mode else []
    assert [each.split(":")[0] for each in report.skipped_passes] == [*PASSES, *ranges, "cut_kernels"]
    assert "MUL" in report.operators


@pytest.mark.parametrize("damage", ["options", "shapes", "codes", "everything"])
@pytest.mark.slow_after(2)
def test_damaged_tables_are_left_as_they_are(damage, tmp_path):
    model = convolved(keras.layers.Conv2D(4, 3, dilation_rate=9, padding="same"), [])
    kseg.export_tflite(model, tmp_path / "m.tflite")
    content = (tmp_path / "m.tflite").read_bytes()
    file, (graph,) = parsed(content)
    for operator in graph.operators:
        if damage == "options":
            operator.builtinOptions, operator.builtinOptionsType = None, 0
        if damage == "codes":
            operator.opcodeIndex = 99
    for tensor in graph.tensors if damage == "shapes" else ():
        tensor.shape = None
    bytes_of = flatbuffer_utils.convert_object_to_bytearray
    content = b"no file at all" if damage == "everything" else bytes(bytes_of(file))
    skipped = []
    assert passes.rewritten(content, skipped) == content
    assert {each.split(":")[0] for each in skipped} <= set(PASSES) and skipped


def test_codes_of_older_files_are_known(tmp_path):
    """They have the narrower field alone; the other one then reads as ADD."""
    kseg.export_tflite(convolved(keras.layers.Conv2D(4, 3, padding="same"), []), tmp_path / "m.tflite")
    model, (graph,) = parsed((tmp_path / "m.tflite").read_bytes())
    kinds = [graph.kind(operator) for operator in graph.operators]
    for code in model.operatorCodes:
        code.builtinCode = 0
    assert [graph.kind(operator) for operator in graph.operators] == kinds and len(set(kinds)) > 1
