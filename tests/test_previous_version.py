"""Files that the version before wrote still load, predict, resume and are checked; they lie beside this file.

`model.keras` is a trained SegNet-Basic with `CrossEntropy() + 0.5 * Dice()`, `model.tflite` its export with a
report, `run/states` a training that stopped after two of three epochs, `resumed.npz` the weights that all
three gave. Written at commit 48ae1ee, the last one of before the rooms were named anew.
"""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.commands.export import inspect

FILES = Path(__file__).with_name("previous_version")
SAME = 0.999  # of the pixels: processors round differently, and a class may hang on it


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "expected.npz") as arrays:
        return dict(arrays)


def test_a_model_loads_predicts_and_keeps_its_loss(expected):
    model = kseg.load(FILES / "model.keras")
    image = expected["image"]
    assert np.mean(kseg.predict(model, image) == expected["keras"]) > SAME
    scores = np.asarray(model(image[None].astype("float32"), training=False))
    difference = np.abs(scores - expected["scores"]) / np.ptp(expected["scores"])
    assert np.mean(difference < 1e-4) > SAME
    assert [(type(loss).__name__, weight) for loss, weight in model.loss.parts] == [
        ("CrossEntropy", 1.0),
        ("Dice", 0.5),
    ]
    history = model.fit(image[None], expected["keras"][None].astype("int32"), verbose=0)  # and goes on
    assert np.isfinite(history.history["loss"][0])


def test_a_file_for_phones_is_the_one_of_its_report_and_predicts(expected, tmp_path):
    assert np.mean(kseg.predict(FILES / "model.tflite", expected["image"]) == expected["tflite"]) > SAME
    assert "labels: background, disk" in inspect(FILES / "model.tflite")
    for name in ("model.tflite", "model.tflite.json"):
        shutil.copy(FILES / name, tmp_path / name)
    (tmp_path / "model.tflite").write_bytes((FILES / "model.tflite").read_bytes() + b"\0")
    with pytest.raises(ValueError, match=r"is not the file that model\.tflite\.json describes"):
        kseg.predict(tmp_path / "model.tflite", expected["image"])


def augment_as_before(image, mask, seed):
    """Augment to 32×32 with the draws and the resampling of that version, which today's has no more."""
    draws = tf.random.stateless_uniform((7,), seed)
    window = tf.maximum(1, tf.cast(tf.round(tf.constant([32.0, 32.0]) / (0.5 * 4.0 ** draws[0])), tf.int32))
    low, high = tf.minimum(0, 32 - window), tf.maximum(0, 32 - window)
    offset = low + tf.cast(draws[1:3] * tf.cast(high - low + 1, tf.float32), tf.int32)
    start, stop = tf.maximum(offset, 0), tf.minimum(offset + window, 32)
    border = tf.stack([start - offset, offset + window - stop], axis=1)
    cut = np.s_[start[0] : stop[0], start[1] : stop[1]]
    image = tf.pad(tf.cast(image[cut], tf.float32), tf.pad(border, [[0, 1], [0, 0]]), constant_values=127.0)
    mask = tf.pad(mask[cut], border, constant_values=255)
    image = tf.image.resize(image, (32, 32))
    mask = tf.image.resize(mask[..., None], (32, 32), method="nearest")[..., 0]
    image, mask = (tf.where(draws[3] < 0.5, each[:, ::-1], each) for each in (image, mask))
    brightness, contrast, saturation = tf.unstack(1 + 0.2 * (2 * draws[4:] - 1))
    luma = tf.repeat(tf.constant([[0.299], [0.587], [0.114]]), 3, axis=1)
    matrix = saturation * tf.eye(3) + (1 - saturation) * luma
    mean = tf.linalg.matvec(matrix, tf.reduce_mean(image, axis=(0, 1)), transpose_a=True)
    image = tf.tensordot(image, contrast * matrix, 1) + (1 - contrast) * mean + (brightness - 1) * 127.5
    return tf.saturate_cast(tf.round(image), tf.uint8), mask


def test_a_training_goes_on_to_the_weights_of_one_that_never_stopped(tmp_path):
    shutil.copytree(FILES / "run", tmp_path / "run")
    data = kseg.data.shapes(8, (32, 32), batch_size=4, shuffle=True, seed=1, augment=augment_as_before)
    model = kseg.compile(
        kseg.build_conv_stack(6, depth=2, filters=4),
        6,
        loss=kseg.losses.CrossEntropy() + kseg.losses.Dice(),
        ema_momentum=0.9,
        learning_rate=0.01,
        global_clipnorm=1.0,
    )
    told = []
    best = kseg.callbacks.SaveBest(tmp_path / "run" / "best.keras", monitor="loss")
    resume = kseg.callbacks.ExactResume(
        tmp_path / "run" / "states", data, [best], {"what": "a test"}, keep=1, report=told.append
    )
    history = model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[best, resume])
    assert told == ["resuming after epoch 2"]
    assert len(history.history["loss"]) == 3
    with np.load(FILES / "resumed.npz") as arrays:
        for variable, name in zip(model.weights, arrays, strict=True):
            # a step is 1e-2 at first; batch statistics are averages now, where they were those of the end
            near = {"rtol": 0.2, "atol": 0.05} if "moving_" in variable.path else {"atol": 1e-3}
            np.testing.assert_allclose(np.asarray(variable), arrays[name], **near)


def test_the_best_of_a_training_loads():
    model = keras.models.load_model(FILES / "run" / "best.keras")
    assert model.output_shape == (None, None, None, 6)
    assert np.isfinite(model(tf.zeros((1, 8, 8, 3)))).all()
