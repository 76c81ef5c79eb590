import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.export import saved_model as module


@pytest.fixture(scope="module")
def model():
    return kseg.build_unet(3, filters=2)


def test_runs_in_a_process_with_tensorflow_alone_at_any_size(model, tmp_path):
    report = kseg.export_saved_model(model, tmp_path / "saved")
    assert report.same_class == 1 and report.largest_difference < 1e-4
    image = np.random.default_rng(0).uniform(0, 255, (2, 33, 47, 3)).astype("float32")
    np.save(tmp_path / "image.npy", image)
    script = f"""
import sys, numpy as np, tensorflow as tf
loaded = tf.saved_model.load(r"{tmp_path}/saved")
out = loaded.signatures["serving_default"](image=tf.constant(np.load(r"{tmp_path}/image.npy")))
assert "kseg" not in sys.modules
np.save(r"{tmp_path}/scores.npy", out["logits"])
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    expected = model(image, training=False)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), expected, atol=1e-4)


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
    write = module.write_archive
    monkeypatch.setattr(module, "write_archive", lambda _, *rest: write(other, *rest))
    with pytest.raises(RuntimeError, match="disagrees with the Keras model, nothing was written"):
        kseg.export_saved_model(model, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
