"""Exports of models that do not tell what they take and give, and of several labels per pixel."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.export import read_metadata
from kseg.inference import facts_of

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (6, 16, 24, 3)).astype("uint8")


def unit_model(end=None, channels=3):
    """A model of others: it takes pictures 0–1."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 24, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(channels, 1, activation=end, kernel_initializer="glorot_normal")(x)
    return keras.Model(image, x, name="own")


def untold(end="sigmoid", channels=3):
    image = keras.Input((16, 24, 3))
    model = unit_model(end, channels)
    return keras.Model(
        image, layers.Lambda(lambda t: t * 1.0)(model(layers.Rescaling(1 / 255)(image))), name="own"
    )


WRITE = {
    "m.tflite": kseg.export_tflite,
    "m.onnx": kseg.export_onnx,
    "saved": kseg.export_saved_model,
}


@pytest.fixture(params=WRITE)
def written(request, tmp_path):
    """A function that exports to each kind of file and returns the path and the report."""

    def write(model, **options):
        path = tmp_path / request.param
        return path, WRITE[request.param](model, path, **options)

    return write


@pytest.mark.filterwarnings("ignore:In the future `np.object`")
@pytest.mark.parametrize("scale", ["pixels", "on the model's scale"])
@pytest.mark.slow_after(2)
def test_a_file_takes_pixels_where_its_model_takes_0_to_1(written, scale):
    model = unit_model()
    data = PICTURES if scale == "pixels" else (PICTURES / 255).astype("float32")
    path, report = written(model, input_range=(0, 1), validation_data=data)
    assert report.same_class == 1
    expected = np.argmax(model(PICTURES / 255.0), -1)
    for picture, ids in zip(PICTURES, expected, strict=True):
        np.testing.assert_array_equal(kseg.predict(path, picture), ids)
        np.testing.assert_array_equal(kseg.predict(model, picture, input_range=(0, 1)), ids)


@pytest.mark.filterwarnings("ignore:In the future `np.object`")
def test_what_the_graph_does_not_tell_is_asked_for(written):
    with pytest.raises(ValueError, match="model 'own': nothing tells whether"):
        written(untold())
    _, report = written(untold(), activation="sigmoid")
    assert report.output_kind == "probabilities"


@pytest.mark.filterwarnings("ignore:In the future `np.object`")
@pytest.mark.parametrize("end", [None, "sigmoid"])
@pytest.mark.slow_after(2)
def test_several_labels_are_told_by_the_file(written, end):
    model = kseg.build_conv_stack(3, (16, 24, 3), depth=1, filters=4, activation=end)
    scores = np.asarray(model(PICTURES.astype("float32"), training=False))
    masks = (scores > (0 if end is None else 0.5)).astype("uint8")
    masks[:, :2, :, 1] = 255
    path, report = written(model, multilabel=True, validation_data=(PICTURES, masks), class_names=list("abc"))
    assert report.same_class == 1 and report.keras_miou == report.file_miou == 1
    assert facts_of(path).multilabel
    mask = kseg.predict(path, PICTURES[0])
    np.testing.assert_array_equal(mask, kseg.predict(model, PICTURES[0], multilabel=True))
    assert kseg.evaluate(path, (PICTURES, masks)).mean_iou == 1
    with pytest.raises(ValueError, match="CRF takes one class per pixel"):
        kseg.predict(path, PICTURES[0], crf=True)


def test_several_labels_in_a_tflite_file(tmp_path):
    model = kseg.build_conv_stack(3, (16, 24, 3), depth=1, filters=4)
    path = tmp_path / "m.tflite"
    kseg.export_tflite(model, path, multilabel=True, output_kind="probabilities", class_names=list("abc"))
    assert read_metadata(path).multilabel and "several per pixel" in str(read_metadata(path))
    scores = np.asarray(model(PICTURES[:1].astype("float32")))[0]
    found = kseg.predict(path, PICTURES[0], output_kind="probabilities")
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-scores)), atol=1e-5)
    for more in ({"output_kind": "classes"}, {"output_kind": "fast_classes"}, {"mediapipe": True}):
        with pytest.raises(ValueError, match="several labels"):
            kseg.export_tflite(model, tmp_path / "n.tflite", multilabel=True, **more)
    options = {"quantize": "int8", "representative_data": PICTURES, "multilabel": True}
    report = kseg.export_tflite(model, tmp_path / "int8.tflite", **options)
    assert report.same_class > 0.9 and facts_of(tmp_path / "int8.tflite").multilabel


def test_a_trained_model_remembers_its_labels(tmp_path):
    model = kseg.compile(kseg.build_conv_stack(3, (16, 24, 3), depth=1, filters=4), multilabel=True)
    masks = RNG.integers(0, 2, (6, 16, 24, 3)).astype("uint8")
    model.fit(PICTURES, masks, verbose=0)
    assert kseg.predict(model, PICTURES[0]).shape == (16, 24, 3)
    model.save(tmp_path / "m.keras")
    assert kseg.predict(tmp_path / "m.keras", PICTURES[0]).shape == (16, 24, 3)
    kseg.export_tflite(model, tmp_path / "m.tflite")
    assert kseg.predict(tmp_path / "m.tflite", PICTURES[0]).shape == (16, 24, 3)
    result = kseg.evaluate(model, (PICTURES, masks), class_names=["a", "b", "c"])
    on = np.stack([kseg.predict(model, picture) for picture in PICTURES]) > 0
    true = masks > 0
    expected = (on & true).sum((0, 1, 2)) / (on | true).sum((0, 1, 2))
    np.testing.assert_allclose(result.class_iou, expected)
    assert result.matrix is None and "mean IoU" in str(result)


def test_the_wrong_range_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"input_range must be \(low, high\)"):
        kseg.export_tflite(unit_model(), tmp_path / "m.tflite", input_range=(1, 0))
    with pytest.raises(ValueError, match="validation_data: a picture must hold pixel values"):
        kseg.export_tflite(unit_model(), tmp_path / "m.tflite", validation_data=PICTURES / 255.0)
    assert list(tmp_path.iterdir()) == []
