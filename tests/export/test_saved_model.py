import logging
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import kseg
from kseg.export import saved_model as module
from kseg.export.serving import write_archive
from kseg.graphs import ModelFacts


@pytest.fixture(scope="module")
def model():
    return kseg.build_unet(3, filters=2)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """The model of any size as a folder, and its report."""
    path = tmp_path_factory.mktemp("exported") / "saved"
    return path, kseg.export_saved_model(model, path, class_names=["sky", "Straße", "rest"])


@pytest.fixture(scope="module")
def encoded(exported):
    """The signature for files of that folder."""
    return tf.saved_model.load(str(exported[0])).signatures["encoded"]


def test_runs_in_a_process_with_tensorflow_alone_at_any_size(model, exported, tmp_path):
    path, report = exported
    assert report.same_class == 1 and report.largest_difference < 1e-4
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (2, 33, 47, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    picture = Image.fromarray(rng.integers(0, 256, (21, 30, 3)).astype("uint8")).resize((60, 42))
    for name in ("a.jpg", "a.png"):
        picture.save(tmp_path / name)
    script = f"""
import sys, numpy as np, tensorflow as tf
sys.modules["keras"] = None
loaded = tf.saved_model.load(r"{path}")
out = loaded.signatures["serving_default"](image=tf.constant(np.load(r"{tmp_path}/image.npy")))
np.save(r"{tmp_path}/scores.npy", out["logits"])
for name in ("a.jpg", "a.png"):
    out = loaded.signatures["encoded"](encoded=tf.io.read_file(rf"{tmp_path}/{{name}}"))
    np.save(rf"{tmp_path}/{{name}}.npy", out["classes"])
assert "kseg" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    expected = model(image, training=False)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, atol=1e-4)
    for name in ("a.jpg", "a.png"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), kseg.predict(model, tmp_path / name))
    labels = (path / "assets" / "labels.txt").read_text(encoding="utf-8")
    assert labels.splitlines() == ["sky", "Straße", "rest"]


@pytest.mark.parametrize("shape", [(24, 32, 3), (24, 32, 1)])
@pytest.mark.slow_after(1)
def test_the_signature_for_files_resizes_for_models_of_fixed_size(tmp_path, shape):
    model = kseg.build_conv_stack(2, shape, depth=1, filters=4)
    kseg.export_saved_model(model, tmp_path / "saved")
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, shape[2])).astype("uint8")
    encoded = tf.saved_model.load(str(tmp_path / "saved")).signatures["encoded"]
    found = encoded(encoded=tf.io.encode_png(picture))["classes"].numpy()
    assert found.shape == (50, 40) and (found == kseg.predict(model, picture)).mean() > 0.999


def png(size, seed=0, channels=3):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, channels)).astype("uint8")
    return picture, tf.io.encode_png(picture).numpy()


def test_rows_of_files_come_back_as_rows(model, encoded):
    """As TensorFlow Serving sends them; one row too, and rows that a client sends twice."""
    pictures, files = zip(*(png((20, 30), seed) for seed in range(3)), strict=True)
    found = encoded(encoded=tf.constant(files))
    assert found["classes"].dtype == tf.int32 and found["logits"].shape == (3, 20, 30, 3)
    for picture, file, ids in zip(pictures, files, found["classes"].numpy(), strict=True):
        np.testing.assert_array_equal(ids, kseg.predict(model, picture))
        np.testing.assert_array_equal(encoded(encoded=tf.constant(file))["classes"], ids)
        np.testing.assert_array_equal(encoded(encoded=tf.constant([file]))["classes"], ids[None])


def test_rows_of_several_sizes_need_a_model_of_fixed_size(encoded, tmp_path):
    (_, first), (_, second) = png((20, 30)), png((24, 30))
    with pytest.raises(tf.errors.InvalidArgumentError, match="pictures of one request must have one size"):
        encoded(encoded=tf.constant([first, second]))
    fixed = kseg.build_conv_stack(1, (16, 24, 1), depth=1, filters=4, activation="sigmoid")
    kseg.export_saved_model(fixed, tmp_path / "fixed")
    encoded = tf.saved_model.load(str(tmp_path / "fixed")).signatures["encoded"]
    (one, first), (other, second) = png((20, 30), channels=1), png((33, 41), seed=1, channels=1)
    found = encoded(encoded=tf.constant([first, second]))
    assert found["probabilities"].shape == (2, 16, 24, 1) and found["classes"].shape == (2, 16, 24)
    for picture, ids in zip((one, other), found["classes"].numpy(), strict=True):
        small = tf.image.resize(picture, (16, 24), antialias=True).numpy()
        np.testing.assert_array_equal(ids, kseg.predict(fixed, small))
    assert encoded(encoded=tf.constant(second))["classes"].shape == (33, 41)


def test_models_of_other_channels_have_no_signature_for_files(tmp_path):
    kseg.export_saved_model(kseg.build_conv_stack(2, (None, None, 5), depth=1, filters=4), tmp_path / "saved")
    assert list(tf.saved_model.load(str(tmp_path / "saved")).signatures) == ["serving_default"]


def test_probabilities_are_named(tmp_path):
    model = kseg.build_conv_stack(2, depth=1, filters=4, activation="softmax")
    kseg.export_saved_model(model, tmp_path / "saved")
    signature = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    assert list(signature.structured_outputs) == ["probabilities"]


def test_an_existing_path_is_left_alone(model, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        kseg.export_saved_model(model, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_overwrite_replaces_the_whole_folder(model, tmp_path):
    path = tmp_path / "saved"
    path.mkdir()
    (path / "saved_model.pb").write_text("an older export")
    (path / "stale.txt").write_text("old")
    kseg.export_saved_model(model, path, overwrite=True)
    assert (path / "saved_model.pb").is_file() and not (path / "stale.txt").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["saved"]


def test_overwrite_never_replaces_a_folder_that_is_no_saved_model(model, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not a SavedModel folder, it is not overwritten"):
        kseg.export_saved_model(model, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_disagreement_is_an_error_and_leaves_nothing(model, tmp_path, monkeypatch):
    other = kseg.build_unet(3, filters=2)
    serving_module = module.serving_module
    monkeypatch.setattr(module, "serving_module", lambda _, *rest: serving_module(other, *rest))
    with pytest.raises(RuntimeError, match="disagrees with the Keras model, nothing was written"):
        kseg.export_saved_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to_litert", [False, True])
def test_a_notebook_is_not_told_of_files_on_the_way(model, to_litert, tmp_path, caplog, monkeypatch):
    logger = tf.get_logger()  # in a notebook TensorFlow sets it to this level, and its stream to stdout
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.INFO, logger.name):
        if to_litert:
            write_archive(model, ModelFacts(model), str(tmp_path / "archive"), (1, 16, 16))
        else:
            kseg.export_saved_model(model, tmp_path / "saved")
        assert logger.level == logging.INFO  # as it was
        logger.warning("others are heard")
    assert [record.getMessage() for record in caplog.records] == ["others are heard"]
