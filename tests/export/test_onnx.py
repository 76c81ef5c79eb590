import json
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import kseg
from kseg.export import verification


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)  # with other weights a pixel may lie on a border
    return kseg.build_unet(3, filters=2)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "unet.onnx"
    return path, kseg.export_onnx(model, path, class_names=["sky", "Straße", "rest"])


def test_agrees_with_keras_at_any_size_and_batch(model, file):
    path, report = file
    assert report.format == "ONNX" and report.same_class == 1
    session = onnxruntime.InferenceSession(path)
    image = np.random.default_rng(0).uniform(0, 255, (2, 33, 47, 3)).astype("float32")
    (scores,) = session.run(["logits"], {"image": image})
    np.testing.assert_allclose(scores, model(image, training=False), atol=1e-4 * report.score_range)
    assert session.get_modelmeta().custom_metadata_map == {"labels": "sky\nStraße\nrest"}


def test_the_report_stands_beside_it(file):
    path, report = file
    told = json.loads(path.with_name("unet.onnx.json").read_text())
    assert told["sha256"] == report.sha256 and told["size_bytes"] == path.stat().st_size


def test_predicts_and_evaluates_as_the_model(model, file):
    path, _ = file
    picture = np.random.default_rng(1).integers(0, 256, (40, 56, 3)).astype("uint8")
    np.testing.assert_array_equal(kseg.predict(path, picture), kseg.predict(model, picture))
    mask = kseg.predict(model, picture)
    assert kseg.evaluate(path, [(picture[None], mask[None])]).mean_iou == 1


@pytest.mark.parametrize("name", ["deeplabv3plus", "ddrnet", "segnet", "dilatednet", "pspnet"])
@pytest.mark.slow
def test_every_kind_of_layer_converts(tmp_path, name):
    model = kseg.build(name, 3, filters=8)
    report = kseg.export_onnx(model, tmp_path / "model.onnx", input_size=(64, 96))
    assert onnx.load(tmp_path / "model.onnx").graph.input[0].type.tensor_type.shape.dim[1].dim_value == 64
    assert report.same_class > 0.99


def test_float16_models_and_softmax(tmp_path):
    model = kseg.build_conv_stack(2, depth=1, filters=4, activation="softmax")
    half = keras.models.clone_model(model)
    for layer in half.layers:
        layer.dtype_policy = "mixed_float16"
    report = kseg.export_onnx(half, tmp_path / "half.onnx")
    assert report.output_kind == "probabilities" and report.same_class > 0.99


def test_a_sequential_model_and_auxiliary_heads(tmp_path):
    layers = [keras.Input((None, None, 3)), keras.layers.Conv2D(2, 3, padding="same")]
    assert kseg.export_onnx(keras.Sequential(layers), tmp_path / "sequential.onnx").same_class == 1
    model = kseg.build_ddrnet(2, filters=4, aux_heads=True)
    assert kseg.export_onnx(model, tmp_path / "heads.onnx", input_size=(64, 64)).same_class == 1


class Held(keras.layers.Layer):
    """Holds a tensor that is no variable, as Keras' `Normalization` does."""

    def build(self, shape):
        self.scale = tf.linspace(0.5, 2.0, shape[-1])

    def call(self, x):
        return x * self.scale


def adapted():
    layer = keras.layers.Normalization(axis=-1)
    layer.adapt(np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32"))
    return layer


def nested():
    image = keras.Input((None, None, 3))
    return keras.Model(image, adapted()(image))


@pytest.mark.parametrize("make", [adapted, nested, Held])
def test_tensors_that_layers_hold_are_no_inputs(make, tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(3, 1)(make()(image)))
    assert kseg.export_onnx(model, tmp_path / "m.onnx").same_class == 1
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [each.name for each in session.get_inputs()] == ["image"]
    pictures = np.random.default_rng(1).uniform(0, 255, (2, 19, 23, 3)).astype("float32")
    (scores,) = session.run(["logits"], {"image": pictures})
    np.testing.assert_allclose(scores, model(pictures), atol=1e-4 * np.ptp(scores))


def test_what_onnx_lacks_is_an_error_that_names_the_file(tmp_path):
    class Odd(keras.layers.Layer):
        def call(self, x):
            return tf.raw_ops.Betainc(a=tf.ones_like(x), b=tf.ones_like(x), x=x / 255)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.Conv2D(2, 1)(Odd()(image)))
    with pytest.raises(RuntimeError, match=r"odd\.onnx: ONNX cannot express this model.*Bet"):
        kseg.export_onnx(model, tmp_path / "odd.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "kind", "told"),
    [
        ([None, None, None, None], onnx.TensorProto.FLOAT, "channels are not known"),
        ([2, 32, 32, 3], onnx.TensorProto.FLOAT, "B open or 1"),
        ([1, 32, 32, 3], onnx.TensorProto.UINT8, "uint8"),
        ([1, 3, 32, 32], onnx.TensorProto.FLOAT, "channels come first"),
    ],
)
def test_files_of_others_are_refused_by_name(tmp_path, shape, kind, told):
    given, wanted = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y"))
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "graph", [given], [wanted])
    opset = [onnx.helper.make_opsetid("", 15)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "theirs.onnx")
    with pytest.raises(ValueError, match=rf"theirs\.onnx.*{told}"):
        kseg.predict(tmp_path / "theirs.onnx", np.zeros((32, 32, 3), "uint8"))


def test_a_file_that_disagrees_is_not_written(model, tmp_path, monkeypatch):
    monkeypatch.setitem(verification.TOLERANCES, None, verification.Tolerance(0.0, 0.0, 1.0))
    with pytest.raises(RuntimeError, match="ONNX file disagrees with the Keras model, nothing was written"):
        kseg.export_onnx(model, tmp_path / "unet.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error_that_names_it(file, tmp_path, share):
    content = file[0].read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"cut\.onnx"):
        kseg.predict(tmp_path / "cut.onnx", np.zeros((32, 32, 3), "uint8"))


def test_bad_arguments(model, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        kseg.export_onnx(model, tmp_path / "model.tflite")
    with pytest.raises(ValueError, match="input_size must be"):
        kseg.export_onnx(model, tmp_path / "model.onnx", input_size=(0, 4))
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"there\.onnx: exists already"):
        kseg.export_onnx(model, tmp_path / "there.onnx")
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # to import it is an error
    with pytest.raises(ImportError, match=r"^tf2onnx is missing: pip install 'kseg\[onnx\]'$"):
        kseg.export_onnx(kseg.build_conv_stack(2, depth=1, filters=4), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
