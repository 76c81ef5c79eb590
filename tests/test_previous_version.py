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


def test_a_training_goes_on_to_the_weights_of_one_that_never_stopped(tmp_path):
    shutil.copytree(FILES / "run", tmp_path / "run")
    data = kseg.data.shapes(
        8, (32, 32), batch_size=4, shuffle=True, seed=1, augment=kseg.data.augment((32, 32))
    )
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
        for weight, name in zip(model.get_weights(), arrays, strict=True):
            np.testing.assert_allclose(weight, arrays[name], atol=1e-3)  # a step is 1e-2 at first


def test_the_best_of_a_training_loads():
    model = keras.models.load_model(FILES / "run" / "best.keras")
    assert model.output_shape == (None, None, None, 6)
    assert np.isfinite(model(tf.zeros((1, 8, 8, 3)))).all()
