"""Files that kseg did not write: what they tell is read, what they do not tell is asked for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import kseg
from kseg.inference import facts_of
from kseg.litert.metadata import Metadata, with_metadata

RAMP = np.tile(np.linspace(0, 255, 32).round()[None, :, None], (32, 1, 3)).astype("uint8")
HALF = RAMP[..., 0] > 127


def unit_model(end="sigmoid", channels=1):
    """A model of others: pictures 0–1, foreground where they are brighter than a half."""
    image = keras.Input((32, 32, 3), batch_size=1)
    conv = layers.Conv2D(channels, 1, activation=end)
    x = conv(image)
    weights = np.zeros((1, 1, 3, channels), "float32")
    weights[..., -1] = 8.0
    bias = np.zeros(channels, "float32")
    bias[-1] = -12.0
    conv.set_weights([weights, bias])
    return keras.Model(image, x)


def converted(model, path, *, metadata=None, quantized=False):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if quantized:
        rng = np.random.default_rng(0)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([rng.random((1, 32, 32, 3), "float32")] for _ in range(9))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    content = converter.convert()
    path.write_bytes(content if metadata is None else with_metadata(content, metadata, (32, 32)))
    return path


@pytest.mark.parametrize("end", ["sigmoid", None])
def test_a_file_without_metadata_is_asked_for_its_range(tmp_path, end):
    path = converted(unit_model(end), tmp_path / "m.tflite")
    for verb in (
        lambda **more: kseg.predict(path, RAMP, **more),
        lambda **more: kseg.evaluate(path, [(RAMP[None], HALF[None].astype("int32"))], **more),
    ):
        with pytest.raises(
            ValueError, match=r"m\.tflite: nothing tells which values .* input_range=\(0, 1\)"
        ):
            verb()
        verb(input_range=(0, 1))
    np.testing.assert_array_equal(kseg.predict(path, RAMP, input_range=(0, 1)), HALF)
    np.testing.assert_array_equal(kseg.predict(path, RAMP / 255.0, input_range=(0, 1)), HALF)
    assert facts_of(path).output_kind == ("probabilities" if end else "logits")


def test_the_range_is_that_of_the_metadata(tmp_path):
    image = keras.Input((32, 32, 3), batch_size=1)
    wide = keras.Model(image, unit_model()(image * 0.5 + 0.5))  # takes -1..1
    told = Metadata("theirs", "", 127.5, 127.5, None, [])
    path = converted(wide, tmp_path / "m.tflite", metadata=told)
    assert facts_of(path).input_range == (-1.0, 1.0)
    np.testing.assert_array_equal(kseg.predict(path, RAMP), HALF)


def test_an_activation_that_its_user_applies_is_read(tmp_path):
    path = converted(
        unit_model(None), tmp_path / "m.tflite", metadata=Metadata("m", "", 0.0, 255.0, "sigmoid", [])
    )
    assert facts_of(path).output_kind == "logits"
    np.testing.assert_array_equal(kseg.predict(path, RAMP), HALF)


@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs")
def test_a_quantized_input_tells_its_range(tmp_path):
    path = converted(unit_model(), tmp_path / "m.tflite", quantized=True)
    low, high = facts_of(path).input_range
    assert abs(low) < 0.01 and abs(high - 1) < 0.02
    assert (kseg.predict(path, RAMP) == HALF).mean() > 0.95


def resized(model):
    image = keras.Input((32, 32, 3), batch_size=1)
    return keras.Model(image, layers.Resizing(32, 32)(layers.AveragePooling2D(2)(model(image))))


def softmax(model):
    image = keras.Input((32, 32, 3), batch_size=1)
    return keras.Model(image, layers.Softmax()(model(image)))


@pytest.mark.parametrize(
    ("make", "kind", "activation"),
    [
        (lambda: resized(unit_model()), "probabilities", "sigmoid"),
        (lambda: resized(softmax(unit_model(None, 2))), "probabilities", "softmax"),
        (lambda: resized(unit_model(None, 2)), "logits", "linear"),
    ],
)
def test_the_operators_of_a_file_tell_what_it_gives(tmp_path, make, kind, activation):
    path = converted(make(), tmp_path / "m.tflite")
    found = facts_of(path)
    assert (found.output_kind, found.activation) == (kind, activation)
    assert (kseg.predict(path, RAMP, input_range=(0, 1)) == HALF).mean() > 0.9


def test_a_saved_model_of_keras_is_asked_for_its_range(tmp_path):
    unit_model().export(tmp_path / "theirs", verbose=False)
    with pytest.raises(ValueError, match="nothing tells which values"):
        kseg.predict(tmp_path / "theirs", RAMP)
    with pytest.warns(UserWarning, match="taken for probabilities by its values"):
        mask = kseg.predict(tmp_path / "theirs", RAMP, input_range=(0, 1))
    np.testing.assert_array_equal(mask, HALF)
    mask = kseg.predict(tmp_path / "theirs", RAMP, input_range=(0, 1), activation="sigmoid")
    np.testing.assert_array_equal(mask, HALF)


def test_values_that_can_be_both_are_asked_for(tmp_path):
    unit_model(None).export(tmp_path / "theirs", verbose=False)
    with pytest.raises(ValueError, match=r"theirs: nothing tells whether it gives logits or probabilities"):
        kseg.predict(tmp_path / "theirs", RAMP, input_range=(0, 1))
    mask = kseg.predict(tmp_path / "theirs", RAMP, input_range=(0, 1), activation="linear")
    np.testing.assert_array_equal(mask, HALF)


@pytest.mark.filterwarnings("ignore:In the future `np.object`")
def test_an_onnx_file_of_others_is_asked_as_well(tmp_path):
    model = unit_model()
    model(RAMP[None] / 255.0)
    model.export(tmp_path / "m.onnx", format="onnx", verbose=False)
    with pytest.raises(ValueError, match="nothing tells which values"):
        kseg.predict(tmp_path / "m.onnx", RAMP)
    mask = kseg.predict(tmp_path / "m.onnx", RAMP, input_range=(0, 1), activation="sigmoid")
    np.testing.assert_array_equal(mask, HALF)


def test_our_own_files_say_all(tmp_path):
    model = kseg.build_conv_stack(3, (32, 32, 3), depth=1, filters=2)
    kseg.export_tflite(model, tmp_path / "m.tflite")
    kseg.export_saved_model(model, tmp_path / "saved")
    kseg.export_onnx(model, tmp_path / "m.onnx")
    model.save(tmp_path / "m.keras")
    for name in ("m.tflite", "saved", "m.onnx", "m.keras"):
        found = facts_of(tmp_path / name)
        assert found.output_kind == "logits" and not found.asks_range, name
        np.testing.assert_array_equal(kseg.predict(tmp_path / name, RAMP), kseg.predict(model, RAMP))


def saved(folder, function, *specs):
    """Write a SavedModel of a function, as other programs do."""
    module = tf.Module()
    module.f = tf.function(function, input_signature=list(specs))
    tf.saved_model.save(module, folder, signatures=module.f.get_concrete_function())
    return folder


OPEN = tf.TensorSpec((None, 32, 32, None), tf.float32, name="x")
FLOATS = tf.TensorSpec((None, 32, 32, 3), tf.float32, name="x")
UNFIT = {
    "two inputs": (lambda x, z: {"y": x + z}, FLOATS, tf.TensorSpec((None, 32, 32, 3), tf.float32, name="z")),
    "two outputs": (lambda x: {"aux": x, "main": x}, FLOATS),
    "a classifier": (lambda x: {"y": tf.reduce_mean(x, (1, 2))}, FLOATS),
    "channels first": (lambda x: {"y": x}, tf.TensorSpec((None, 3, 32, 32), tf.float32, name="x")),
    "channels first at its end": (lambda x: {"y": tf.transpose(x, (0, 3, 1, 2))}, FLOATS),
    "channels that are not known": (lambda x: {"y": x}, OPEN),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_saved_models_that_do_not_fit_are_refused_in_a_sentence(tmp_path, kind):
    path = saved(tmp_path / "theirs", *UNFIT[kind])
    with pytest.raises(
        ValueError, match=r"theirs: (expected one|channels come first|the channels are not known)"
    ):
        kseg.predict(path, RAMP, input_range=(0, 1))


@pytest.mark.parametrize("channel", [False, True])
def test_saved_models_of_ids_and_of_bytes_run(tmp_path, channel):
    def ids(x):
        found = tf.cast(tf.cast(x[..., :1], tf.float32) > 127, tf.int64)
        return {"y": found if channel else found[..., 0]}

    path = saved(tmp_path / "theirs", ids, tf.TensorSpec((None, 32, 32, 3), tf.uint8, name="x"))
    np.testing.assert_array_equal(kseg.predict(path, RAMP, input_range=(0, 255)), HALF)


def test_a_range_that_contradicts_what_a_file_tells_is_refused(tmp_path):
    keras_model = kseg.build_conv_stack(3, (32, 32, 3), depth=1, filters=2)
    kseg.export_tflite(keras_model, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="takes 0 for black and 255 for white; leave input_range= out"):
        kseg.predict(tmp_path / "m.tflite", RAMP, input_range=(0, 1))
    kseg.predict(tmp_path / "m.tflite", RAMP, input_range=(0, 255))


def test_bytes_without_a_scale_are_values(tmp_path):
    """A `.tflite` with a uint8 input that is not quantised."""
    function = tf.function(
        lambda x: tf.cast(x[..., :1], tf.float32) / 255,
        input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.uint8)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    mask = kseg.predict(tmp_path / "m.tflite", RAMP, input_range=(0, 255), activation="sigmoid")
    np.testing.assert_array_equal(mask, HALF)
