"""`kseg predict`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

import kseg


def test_predict_writes_ids_and_overlay(trained, exported, shell, refused, pixels, tmp_path):
    model, saved, float32, _ = exported
    picture, out = trained / "data" / "val" / "images" / "0.png", tmp_path / "out"
    code, _, err = shell("predict", float32, picture, "--output", out)
    assert code == 0, err
    np.testing.assert_array_equal(pixels(out / "0.png"), kseg.predict(model, picture))
    assert pixels(out / "0_overlay.png").shape[0] == 48
    assert "exists already" in refused("predict", saved, picture, "--output", out)
    code, _, err = shell("predict", model, picture, "--output", out, "--crf", "--overwrite")
    assert code == 0, err
    np.testing.assert_array_equal(pixels(out / "0.png"), kseg.predict(model, picture, crf=True))


def test_predict_writes_probabilities(trained, exported, shell, refused, pixels, tmp_path):
    model, _, float32, _ = exported
    picture, out = trained / "data" / "val" / "images" / "0.png", tmp_path / "out"
    code, _, err = shell("predict", float32, picture, "--out", out, "--output-kind", "probabilities")
    assert code == 0, err
    assert {path.name for path in out.iterdir()} == {"0.npy", "0_overlay.png"}
    found = np.load(out / "0.npy")
    np.testing.assert_array_equal(found, kseg.predict(float32, picture, output_kind="probabilities"))
    np.testing.assert_array_equal(found.argmax(-1), kseg.predict(float32, picture))
    assert "0.npy: exists already" in refused(
        "predict", model, picture, "--output", out, "--output-kind", "probabilities"
    )


def test_predict_refuses_an_unreadable_picture_and_writes_nothing(trained, tmp_path, refused):
    (tmp_path / "a.jpg").write_text("<html>")
    model, output = trained / "run" / "model.keras", tmp_path / "o"
    assert "a.jpg: cannot be read as a picture" in refused(
        "predict", model, tmp_path / "a.jpg", "--output", output
    )
    assert not output.exists()


def test_ids_above_255_reach_the_file(shell, pixels, tmp_path):
    image = keras.Input((None, None, 1))
    conv = layers.Conv2D(300, 1)
    model = keras.Model(image, conv(image))
    centres = np.linspace(0, 255, 300)
    conv.set_weights([2 * centres.reshape(1, 1, 1, 300), -(centres**2)])
    model.save(tmp_path / "m.keras")
    ramp = np.arange(256, dtype="uint8").reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    code, _, err = shell("predict", tmp_path / "m.keras", tmp_path / "a.png", "--output", tmp_path / "out")
    assert code == 0, err
    expected = np.argmax(model(ramp[None, ..., None].astype("float32"))[0], -1)
    assert expected.max() > 255
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png"), expected)


@pytest.mark.filterwarnings("ignore:.*taken for probabilities")
def test_a_file_of_others_is_inspected_and_its_range_stated(shell, refused, pixels, tmp_path):
    image = keras.Input((16, 16, 1), batch_size=1)
    conv = layers.Conv2D(1, 1, activation="sigmoid")
    model = keras.Model(image, conv(image))
    conv.set_weights([np.full((1, 1, 1, 1), 8.0), np.array([-4.0])])
    (tmp_path / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    ramp = np.arange(256, dtype="uint8").reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    words = ("predict", tmp_path / "m.tflite", tmp_path / "a.png", "--output", tmp_path / "out")
    assert "by --input-range, for instance --input-range 0 1" in refused(*words)
    code, _, err = shell(*words, "--input-range", 0, 1, "--activation", "sigmoid")
    assert code == 0, err
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "a.png"), ramp > 127)
    code, text, _ = shell("export", "--inspect", tmp_path / "m.tflite")
    assert code == 0
    assert "values: not told" in text and "probabilities, 1 channels (sigmoid)" in text and "16 x 16" in text


def test_the_shell_knows_every_kind_of_file():
    from kseg.cli import predict
    from kseg.results.kinds import KINDS

    assert predict._KINDS == KINDS
