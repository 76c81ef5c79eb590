"""Models that take the arg-max themselves: files pass their ids on, and nothing else can be asked of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.export import verification

PICTURES = np.random.default_rng(0).integers(0, 256, (8, 16, 24, 3)).astype("uint8")


class ArgMax(keras.layers.Layer):
    """Gives ids `(B, H, W)`, with a channel `(B, H, W, 1)`."""

    def __init__(self, channel, kind, **options):
        super().__init__(**options)
        self.channel, self.kind = channel, kind

    def call(self, x):
        ids = tf.argmax(x, -1, output_type=tf.int32)
        return tf.cast(ids[..., None] if self.channel else ids, self.kind)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:3], 1) if self.channel else x.shape[:3], self.kind)

    def get_config(self):
        return {**super().get_config(), "channel": self.channel, "kind": self.kind}


FORMS = [(False, "int32"), (True, "int32"), (False, "int64")]


@pytest.fixture(params=FORMS, ids=str)
def model(request):
    keras.utils.set_random_seed(0)
    scores = kseg.build_conv_stack(3, (16, 24, 3), depth=1, filters=8)
    return keras.Model(scores.input, ArgMax(*request.param)(scores.output))


def ids_of(model):
    ids = np.asarray(model(PICTURES.astype("float32"), training=False))
    return ids[..., 0] if ids.ndim == 4 else ids


# Every form and both modes; the other pairs are slow.
QUICK = [(FORMS[0], None), (FORMS[1], "int8"), (FORMS[2], None)]


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        pytest.param(form, mode, marks=[] if (form, mode) in QUICK else pytest.mark.slow)
        for form in FORMS
        for mode in (None, "int8")
    ],
    indirect=["model"],
)
def test_a_tflite_file_gives_the_ids(model, mode, tmp_path):
    path, masks = tmp_path / "m.tflite", ids_of(model)
    given = {"quantize": mode, "representative_data": (PICTURES, masks), "class_names": ["a", "b", "c"]}
    report = kseg.export_tflite(model, path, **given)
    assert report.output_kind == "classes" and report.largest_difference is None and report.score_range == 0
    found = np.stack([kseg.predict(path, each) for each in PICTURES])
    assert (found == masks).mean() == pytest.approx(report.same_class) and report.same_class > 0.95
    assert report.keras_miou == 1 and report.file_miou == pytest.approx(1, abs=0 if mode is None else 0.1)
    assert kseg.export.read_metadata(path).labels == ["a", "b", "c"]


def test_saved_models_and_onnx_give_the_ids(model, tmp_path):
    kseg.export_saved_model(model, tmp_path / "saved")
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    assert list(signatures) == ["serving_default"]
    given = signatures["serving_default"](image=tf.constant(PICTURES, tf.float32))["classes"]
    np.testing.assert_array_equal(given, ids_of(model))
    assert kseg.export_onnx(model, tmp_path / "m.onnx").output_kind == "classes"
    for path in (tmp_path / "saved", tmp_path / "m.onnx"):
        np.testing.assert_array_equal(kseg.predict(path, PICTURES[0]), ids_of(model)[0])


@pytest.mark.parametrize("kind", ["logits", "probabilities", "fast_classes"])
def test_scores_cannot_be_had_of_them(model, kind, tmp_path):
    with pytest.raises(ValueError, match=f"output_kind='{kind}': the model takes the arg-max itself"):
        kseg.export_tflite(model, tmp_path / "m.tflite", output_kind=kind)
    with pytest.raises(ValueError, match="mediapipe=True: it takes the arg-max itself"):
        kseg.export_tflite(model, tmp_path / "m.tflite", mediapipe=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", FORMS[1:2], indirect=True)
def test_a_file_of_other_ids_is_refused(model, tmp_path, monkeypatch):
    run = verification.run_file
    monkeypatch.setattr(verification.sandbox, "call", lambda function, *given: function(*given))
    monkeypatch.setattr(verification, "run_file", lambda *given: ((run(*given)[0] + 1) % 3, 0.1))
    with pytest.raises(RuntimeError, match=r"only 0\.00 % of pixels keep their class"):
        kseg.export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
