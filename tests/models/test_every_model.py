"""The contract that all builders share; adding an architecture adds a row to `SMALL`."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg

# The smallest form of every architecture: name, arguments.
SMALL = [
    ("conv_stack", {"depth": 2, "filters": 4}),
    ("encoder_decoder", {"filters": 2}),
    ("encoder_decoder", {"filters": 2, "upsampling": "bilinear", "normalization": "group"}),
    ("ddrnet", {"filters": 2}),
    ("ddrnet", {"filters": 2, "variant": "39", "aux_heads": True}),
    ("unet", {"filters": 2}),
    ("unet", {"filters": 2, "upsampling": "bilinear"}),
    ("unet", {"filters": 2, "upsampling": "nearest", "normalization": None}),
    ("unet", {"backbone": "mobilenet_v2", "decoder_filters": (8, 8, 8, 8, 8)}),
    ("unet", {"backbone": "mobilenet_v2", "decoder_filters": (8, 8, 8, 8, 8), "upsampling": "transpose"}),
]
IDS = [f"{name}-{'-'.join(str(v) for v in arguments.values())}" for name, arguments in SMALL]
small = pytest.mark.parametrize(("name", "arguments"), SMALL, ids=IDS)


def pictures(batch, height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (batch, height, width, channels)).astype("uint8")


def shaken(model, seed=0):
    """Give every weight a value that matters: nothing is zero, no batch statistic is its initial one."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        noise = rng.standard_normal(weight.shape)
        if "variance" in weight.path or "gamma" in weight.path:
            weight.assign(0.8 + 0.4 * np.abs(noise))
        elif len(weight.shape) < 2:
            weight.assign(0.3 * noise)
        else:
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(noise * np.sqrt(2 / fan_in))
    return model


@pytest.fixture(scope="module")
def open_models():
    """Each architecture once, built for any size."""
    return [kseg.build(name, 3, **arguments) for name, arguments in SMALL]


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 97), width=st.integers(1, 97))
def test_gives_float32_scores_at_the_size_of_the_picture(open_models, height, width):
    for model in open_models:
        scores = model(pictures(1, height, width).astype("float32"), training=False)
        assert scores.shape == (1, height, width, 3)
        assert scores.dtype == "float32"


@small
@pytest.mark.parametrize(("shape", "activation"), [((33, 47, 1), "sigmoid"), ((32, None, 4), "softmax")])
def test_sizes_channels_and_activations(name, arguments, shape, activation):
    model = kseg.build(name, 3, shape, activation=activation, **arguments)
    assert model.output_shape == (None, *shape[:2], 3)
    height, width = shape[0], shape[1] or 41
    scores = np.asarray(model(pictures(2, height, width, shape[2])))
    assert scores.shape == (2, height, width, 3)
    assert scores.min() >= 0 and scores.max() <= 1
    if activation == "softmax":
        np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)


@small
def test_static_and_open_sizes_compute_the_same(name, arguments):
    flexible = shaken(kseg.build(name, 3, **arguments))
    fixed = kseg.build(name, 3, (37, 50, 3), **arguments)
    fixed.set_weights(flexible.get_weights())
    image = pictures(1, 37, 50).astype("float32")
    expected = np.asarray(flexible(image))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(fixed(image), expected, atol=1e-4 * np.ptp(expected))


@small
def test_exported_files_agree_and_hold_no_operator_a_phone_lacks(name, arguments, tmp_path):
    model = shaken(kseg.build(name, 3, **arguments))
    report = kseg.export_tflite(model, tmp_path / "model.tflite", input_size=(40, 57))
    assert report.same_class >= 0.999 and report.largest_difference <= 1e-3 * report.score_range
    assert not any("FLEX" in operator.upper() or "BATCH_ND" in operator for operator in report.operators)
    assert not {"SHAPE", "CUSTOM"} & set(report.operators)  # sizes are static
    report = kseg.export_saved_model(model, tmp_path / "saved")
    assert report.same_class >= 0.999 and report.largest_difference <= 1e-3 * report.score_range


@small
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_scores_stay_float32_under_mixed_precision(name, arguments, policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = kseg.build(name, 3, (32, 48, 3), **arguments)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    scores = model(pictures(1, 32, 48))
    assert scores.dtype == "float32"
    assert np.all(np.isfinite(scores))


@small
def test_every_trainable_weight_gets_a_gradient(name, arguments):
    model = kseg.build(name, 3, **arguments)
    mask = np.random.default_rng(1).integers(0, 3, (2, 64, 64))
    loss_of = kseg.losses.Auxiliary(kseg.losses.CrossEntropy())
    with tf.GradientTape() as tape:
        loss = loss_of(mask, model(pictures(2, 64, 64).astype("float32"), training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    lost = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None]
    assert lost == []


@small
def test_a_seed_fixes_the_weights(name, arguments):
    def weights():
        keras.utils.set_random_seed(3)
        return kseg.build(name, 3, **arguments).get_weights()

    for first, second in zip(weights(), weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_saved_models_load_in_a_process_that_only_imports_kseg(open_models, tmp_path):
    image = pictures(1, 40, 50).astype("float32")
    np.save(tmp_path / "image.npy", image)
    for number, model in enumerate(open_models):
        kseg.compile(model, steps=10, class_names=["a", "b", "c"])
        model.save(tmp_path / f"{number}.keras")
        np.save(tmp_path / f"{number}.npy", model(image, training=False))
    script = f"""
import keras, numpy as np, kseg
for number in range({len(open_models)}):
    model = keras.models.load_model(f"{tmp_path}/{{number}}.keras")
    expected = np.load(f"{tmp_path}/{{number}}.npy")
    np.testing.assert_allclose(model(np.load(r"{tmp_path}/image.npy"), training=False), expected, atol=1e-4)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@small
def test_one_step_on_two_replicas(name, arguments):
    with kseg.strategy(["CPU:0", "CPU:1"]).scope():
        model = kseg.compile(kseg.build(name, 3, (32, 32, 3), **arguments))
    masks = np.random.default_rng(2).integers(0, 3, (4, 32, 32)).astype("int32")
    batches = tf.data.Dataset.from_tensor_slices((pictures(4, 32, 32), masks)).batch(4)
    history = model.fit(batches, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"][0])


@small
def test_layer_names_tell_the_place(name, arguments):
    model = kseg.build(name, 3, **arguments)
    assert all(
        "_" in layer.name or layer.name in ("image", "pad", "normalization", "logits")
        for layer in model.layers
    )
