"""int8 and int16x8 of what has no form in integers: group and layer normalisation, and layers like them."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers

import kseg
from kseg.litert import conversion
from kseg.litert.passes.squared_differences import widen_differences

PICTURES = np.random.default_rng(0).integers(0, 256, (8, 32, 40, 3)).astype("uint8")
NARROW = ("int8", "int16", "uint8")


class Rms(layers.Layer):
    """A user's own: over the root of the mean square."""

    def call(self, x):
        return x * keras.ops.rsqrt(keras.ops.mean(keras.ops.square(x), axis=-1, keepdims=True) + 1e-3)


NORMS = {
    "group": lambda: layers.GroupNormalization(4, name="norm"),
    "instance": lambda: layers.GroupNormalization(-1, name="norm"),
    "layer": lambda: layers.LayerNormalization(name="norm"),
    "layer, all axes": lambda: layers.LayerNormalization(axis=(1, 2, 3), name="norm"),
    "own": lambda: Rms(name="norm"),
}


def model_with(norm, depth=1):
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 40, 3))
    x = layers.Rescaling(1 / 255)(image)
    for _ in range(depth):
        x = layers.Activation("relu")(norm()(layers.Conv2D(8, 3, padding="same")(x)))
    return keras.Model(image, layers.Conv2D(3, 1, name="scores")(x))


def operators(path):
    """Yield `(name, type of the result)` of the operators of a file."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    file = Interpreter(str(path), experimental_op_resolver_type=plain)
    file.allocate_tensors()
    types = {each["index"]: np.dtype(each["dtype"]).name for each in file.get_tensor_details()}
    for operator in file._get_ops_details():
        yield operator["op_name"], types[operator["outputs"][0]]


# Each norm is quantised in int8, the others of Keras in int16x8 too in `pytest -m slow`.
MODES = [(norm, "int8") for norm in NORMS] + [("layer", "int16x8"), ("own", "int16x8")]
SLOW = [
    pytest.param(norm, "int16x8", marks=pytest.mark.slow) for norm in NORMS if (norm, "int16x8") not in MODES
]


@pytest.mark.parametrize(("norm", "mode"), [*MODES, *SLOW])
@pytest.mark.slow_after(3)
def test_normalization_stays_in_float_and_nothing_else(norm, mode, tmp_path):
    model, path = model_with(NORMS[norm]), tmp_path / "m.tflite"
    report = kseg.export_tflite(model, path, quantize=mode, representative_data=PICTURES)
    assert report.float_layers == ["norm"] and "kept in float: norm" in str(report)
    expected = np.asarray(model(PICTURES.astype("float32"), training=False)).argmax(-1)
    given = np.stack([kseg.predict(path, each) for each in PICTURES])
    assert (given == expected).mean() == pytest.approx(report.same_class, abs=1e-9)
    assert report.same_class > 0.98
    found = list(operators(path))
    assert all(kind in NARROW for name, kind in found if name == "CONV_2D")
    if mode == "int8":  # to float and back once, not for each operator
        assert [name for name, _ in found].count("DEQUANTIZE") == 1
        assert not {"MEAN", "RSQRT"} & set(report.not_on_xnnpack)


@pytest.mark.parametrize("mode", ["int8", pytest.param("int16x8", marks=pytest.mark.slow)])
def test_models_with_group_normalization_of_ours(mode, tmp_path):
    keras.utils.set_random_seed(0)
    model = kseg.build_encoder_decoder(3, (32, 40, 3), filters=8, normalization="group")
    report = kseg.export_tflite(model, tmp_path / "m.tflite", quantize=mode, representative_data=PICTURES)
    norms = [layer.name for layer in model.layers if isinstance(layer, layers.GroupNormalization)]
    assert sorted(report.float_layers) == sorted(norms) and norms


def test_layers_that_the_user_leaves_in_float_are_told_with_them(tmp_path):
    given = {"quantize": "int8", "representative_data": PICTURES, "float_layers": ["scores"]}
    report = kseg.export_tflite(model_with(NORMS["layer"]), tmp_path / "m.tflite", **given)
    assert report.float_layers == ["scores", "norm"]


def test_other_models_stay_whole_in_integers(tmp_path):
    report = kseg.export_tflite(
        model_with(lambda: layers.BatchNormalization()),
        tmp_path / "m.tflite",
        quantize="int8",
        representative_data=PICTURES,
    )
    assert report.float_layers == [] and all(kind in NARROW for _, kind in operators(tmp_path / "m.tflite"))


@pytest.mark.filterwarnings("ignore")  # of the converter, which runs in this process here
def test_without_widening_the_differences_do_not_run(tmp_path, in_process, monkeypatch):
    given = {"quantize": "int16x8", "representative_data": PICTURES}
    kseg.export_tflite(model_with(NORMS["layer"]), tmp_path / "with.tflite", **given)
    content = (tmp_path / "with.tflite").read_bytes()
    assert widen_differences(content) == content  # nothing is left to widen
    found = dict(operators(tmp_path / "with.tflite"))
    assert found["SQUARED_DIFFERENCE"] == "float32"
    monkeypatch.setattr(conversion, "widen_differences", lambda content: content)
    with pytest.raises(RuntimeError, match="SquaredDifference only supports"):
        kseg.export_tflite(model_with(NORMS["layer"]), tmp_path / "without.tflite", **given)
