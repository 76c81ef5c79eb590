"""The contract that all builders share; adding an architecture adds a row to `contract.SMALL`."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from contract import ARCHITECTURES, IDS, SMALL, Row, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg


@pytest.fixture(scope="module", params=SMALL, ids=IDS)
def row(request):
    yield Row(*request.param)
    keras.utils.clear_session()


# What a builder does for all its rows alike is tried with the first of each architecture; the rest is slow.
BY_ARCHITECTURE = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=name, marks=[] if row in ARCHITECTURES else pytest.mark.slow)
        for row, name in zip(SMALL, IDS, strict=True)
    ],
    indirect=True,
)


@pytest.fixture(scope="module")
def fixed(row):
    """The same for pictures of one size, and the weights it was built with."""
    keras.utils.set_random_seed(row.seed)
    model = row.build((37, 50, 3))
    return model, model.get_weights()


QUICK = "deeplabv1"  # the others' first rows are for `pytest -m slow`
FIRST_ROWS = [
    pytest.param(row, id=row[0], marks=[] if row[0] == QUICK else pytest.mark.slow) for row in ARCHITECTURES
]


@pytest.fixture(scope="module", params=FIRST_ROWS)
def first_row(request):
    """One row of each architecture, for what takes long."""
    yield Row(*request.param)
    keras.utils.clear_session()


@settings(max_examples=2, deadline=None)
@given(height=st.integers(1, 97), width=st.integers(1, 97))
@pytest.mark.slow_after(6)
def test_gives_float32_scores_at_the_size_of_the_picture(row, height, width):
    scores = row.model(pictures(1, height, width).astype("float32"), training=False)
    assert scores.shape == (1, height, width, 3)
    assert scores.dtype == "float32"


FORMS = [((33, 47, 1), "sigmoid"), ((32, None, 4), "softmax")]


@pytest.mark.parametrize("turn", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.slow_after(8)
def test_sizes_channels_and_activations(row, turn):
    """Every row has one form in turn, the other is slow."""
    shape, activation = FORMS[(SMALL.index((row.name, row.arguments)) + turn) % 2]
    model = row.build(shape, activation=activation)
    assert model.output_shape == (None, *shape[:2], 3)
    height, width = shape[0], shape[1] or 41
    scores = np.asarray(model(pictures(2, height, width, shape[2])))
    assert scores.shape == (2, height, width, 3)
    assert scores.min() >= 0 and scores.max() <= 1
    if activation == "softmax":
        np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)


@BY_ARCHITECTURE
@pytest.mark.slow_after(4)
def test_a_seed_fixes_the_weights(row, fixed):
    for first, second in zip(row.initial_weights, fixed[1], strict=True):
        np.testing.assert_array_equal(first, second)


@BY_ARCHITECTURE
def test_static_and_open_sizes_compute_the_same(row, fixed):
    model, _ = fixed
    model.set_weights(row.model.get_weights())
    image = pictures(1, 37, 50).astype("float32")
    expected = np.asarray(row.model(image))
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(model(image), expected, atol=1e-4 * np.ptp(expected))


@BY_ARCHITECTURE
@pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_scores_stay_float32_under_mixed_precision(row, policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = row.build((32, 48, 3))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    scores = model(pictures(1, 32, 48))
    assert scores.dtype == "float32"
    assert np.all(np.isfinite(scores))


@pytest.mark.slow_after(8)
def test_every_trainable_weight_gets_a_gradient(row):
    mask = np.random.default_rng(1).integers(0, 3, (2, 64, 64))
    loss_of = kseg.losses.Auxiliary(kseg.losses.CrossEntropy())
    with tf.GradientTape() as tape:
        loss = loss_of(mask, row.model(pictures(2, 64, 64).astype("float32"), training=True))
    gradients = tape.gradient(loss, row.model.trainable_weights)
    lost = [w.path for w, g in zip(row.model.trainable_weights, gradients, strict=True) if g is None]
    assert lost == []


def test_layer_names_tell_the_place(row):
    assert all(
        "_" in layer.name or layer.name in ("image", "pad", "normalization", "logits")
        for layer in row.model.layers
    )


def test_one_step_on_two_replicas(first_row):
    with kseg.strategy(["CPU:0", "CPU:1"]).scope():
        model = kseg.compile(first_row.build((32, 32, 3)), optimizer="sgd")  # without slots: quicker to build
    masks = np.random.default_rng(2).integers(0, 3, (4, 32, 32)).astype("int32")
    batches = tf.data.Dataset.from_tensor_slices((pictures(4, 32, 32), masks)).batch(4)
    history = model.fit(batches, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"][0])


def test_exported_files_agree_and_hold_no_operator_a_phone_lacks(first_row, tmp_path):
    report = kseg.export_tflite(first_row.model, tmp_path / "model.tflite", input_size=(40, 57))
    assert report.same_class >= 0.999 and report.largest_difference <= 1e-3 * report.score_range
    assert not any("FLEX" in operator.upper() or "BATCH_ND" in operator for operator in report.operators)
    assert not {"SHAPE", "CUSTOM"} & set(report.operators)  # sizes are static
    report = kseg.export_saved_model(first_row.model, tmp_path / "saved")
    assert report.same_class >= 0.999 and report.largest_difference <= 1e-3 * report.score_range


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["float16", "dynamic", "int8", "int16x8"])
def test_quantized_files_hold_no_operator_a_phone_lacks(first_row, tmp_path, monkeypatch, mode):
    """Fresh weights decide too little to judge classes by; what a file is made of they do not change."""
    model = first_row.build()
    lenient = kseg.export.verification.Tolerance(None, 1.0, 0.0)
    monkeypatch.setitem(kseg.export.verification.TOLERANCES, mode, lenient)
    monkeypatch.setitem(kseg.export.verification.WITH_INDICES, mode, lenient)
    given = {"input_size": (40, 57), "quantize": mode, "representative_data": pictures(8, 40, 57)}
    report = kseg.export_tflite(model, tmp_path / "model.tflite", **given)
    assert not any("FLEX" in operator.upper() or "BATCH_ND" in operator for operator in report.operators)
    assert not {"SHAPE", "CUSTOM"} & set(report.operators)


@pytest.mark.slow
def test_saved_models_load_in_a_process_that_only_imports_kseg(tmp_path):
    image = pictures(1, 40, 50).astype("float32")
    np.save(tmp_path / "image.npy", image)
    for number, (name, arguments) in enumerate(SMALL):
        model = Row(name, arguments).model
        kseg.compile(model, steps=10, class_names=["a", "b", "c"])
        model.save(tmp_path / f"{number}.keras")
        np.save(tmp_path / f"{number}.npy", model(image, training=False))
        keras.utils.clear_session()
    script = f"""
import keras, numpy as np, kseg
for number in range({len(SMALL)}):
    model = keras.models.load_model(f"{tmp_path}/{{number}}.keras")
    expected = np.load(f"{tmp_path}/{{number}}.npy")
    scores = model(np.load(r"{tmp_path}/image.npy"), training=False)
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.ptp(expected))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
