"""`kseg predict`."""

import numpy as np

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
