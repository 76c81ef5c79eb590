import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kseg
from kseg.export import litert as module

SIZE = (32, 48)
PICTURES = np.random.default_rng(0).integers(20, 220, (12, *SIZE, 3)).astype("uint8")
MASKS = np.random.default_rng(1).integers(0, 3, (12, *SIZE)).astype("int32")
MODES = [None, "float16", "int8"]


@pytest.fixture(scope="module")
def model():
    """Trained a little, so that classes are decided."""
    keras.utils.set_random_seed(0)
    scenes = kseg.data.shapes(200, (64, 64), seed=1, shuffle=True)
    model = kseg.compile(kseg.build_unet(6, filters=8), 4 * len(scenes), learning_rate=5e-3)
    model.fit(scenes, epochs=4, verbose=0, shuffle=False)
    return model


@pytest.fixture(scope="module")
def scenes():
    return kseg.data.shapes(16, SIZE, batch_size=4, seed=2)


@pytest.mark.parametrize("mode", MODES)
def test_written_file_agrees_and_is_fit_for_phones(model, scenes, tmp_path, mode):
    path = tmp_path / "model.tflite"
    report = kseg.export_tflite(model, path, input_size=SIZE, quantize=mode, representative_data=scenes)
    interpreter = Interpreter(str(path))
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["shape_signature"].tolist() == [1, *SIZE, 3]
    assert wanted["shape_signature"].tolist() == [1, *SIZE, 6]
    kind = np.uint8 if mode == "int8" else np.float32
    assert given["dtype"] == kind and wanted["dtype"] == kind
    assert not any("FLEX" in name.upper() or "BATCH_ND" in name for name in report.operators)
    assert report.size_bytes == path.stat().st_size
    assert report.same_class > (0.95 if mode == "int8" else 0.999)
    assert report.file_miou == pytest.approx(report.keras_miou, abs=0.03 if mode == "int8" else 1e-3)
    assert f"{report.size_bytes / 1e6:.2f} MB" in str(report)


def test_int8_takes_raw_bytes_whatever_the_calibration_pictures_show(model, tmp_path):
    path = tmp_path / "int8.tflite"
    kseg.export_tflite(model, path, input_size=SIZE, quantize="int8", representative_data=PICTURES)
    assert Interpreter(str(path)).get_input_details()[0]["quantization"] == (1.0, 0)


def test_modes_get_smaller(model, scenes, tmp_path):
    sizes = [
        kseg.export_tflite(
            model, tmp_path / f"{mode}.tflite", input_size=SIZE, quantize=mode, representative_data=scenes
        ).size_bytes
        for mode in MODES
    ]
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * sizes[2]


def test_a_mixed_precision_model_is_exported_in_float32(tmp_path):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = kseg.build_unet(3, backbone="mobilenet_v2", decoder_filters=(8, 8, 8, 8, 8))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    report = kseg.export_tflite(model, tmp_path / "m.tflite", input_size=(64, 64))
    assert "DEQUANTIZE" not in report.operators


def test_sizes_no_level_divides(model, tmp_path):
    report = kseg.export_tflite(model, tmp_path / "odd.tflite", input_size=(35, 51))
    assert report.same_class > 0.999


def test_a_static_model_needs_no_input_size(tmp_path):
    model = kseg.build_conv_stack(2, (16, 24, 1), depth=1, filters=4)
    assert kseg.export_tflite(model, tmp_path / "m.tflite").pictures == 4


def test_export_leaves_the_model_as_it_was(model, tmp_path):
    before = model.get_weights()
    kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"input_size=\(H, W\) is missing"),
        ({"input_size": (32,)}, "positive ints"),
        ({"input_size": SIZE, "quantize": "int8"}, "representative_data is missing"),
        ({"input_size": SIZE, "quantize": "int-8"}, "did you mean 'int8'"),
        ({"input_size": SIZE, "quantize": "int8", "representative_data": []}, "data .* are empty"),
        (
            {"input_size": SIZE, "quantize": "int8", "representative_data": PICTURES * np.float32("nan")},
            "finite numbers",
        ),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        kseg.export_tflite(model, tmp_path / "m.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_must_be_tflite(model, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.tflite"):
        kseg.export_tflite(model, tmp_path / "m.lite", input_size=SIZE)


def test_a_static_model_keeps_its_size(tmp_path):
    model = kseg.build_conv_stack(2, (16, 24, 1), depth=1, filters=4)
    with pytest.raises(ValueError, match="is not the size the model was built for"):
        kseg.export_tflite(model, tmp_path / "m.tflite", input_size=(16, 16))


def test_an_existing_file_is_left_alone_unless_told(model, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="exists already"):
        kseg.export_tflite(model, path, input_size=SIZE)
    assert path.read_bytes() == b"precious"
    kseg.export_tflite(model, path, input_size=SIZE, overwrite=True)
    assert path.stat().st_size > 1000


def test_calibration_on_the_wrong_scale_is_refused(model, tmp_path):
    """0–1 pictures where the file will see 0–255: the classic, silent elsewhere."""
    with pytest.raises(ValueError, match=r"representative_data holds values up to .*, expected 0–255"):
        kseg.export_tflite(
            model, tmp_path / "m.tflite", input_size=SIZE, quantize="int8", representative_data=PICTURES / 255
        )
    assert list(tmp_path.iterdir()) == []


def test_disagreement_is_an_error_and_leaves_nothing(model, tmp_path, monkeypatch):
    other = kseg.build_unet(6, filters=8)
    write = module.write_archive
    monkeypatch.setattr(module, "write_archive", lambda _, path, size: write(other, path, size))
    with pytest.raises(RuntimeError, match="disagrees with the Keras model, nothing was written"):
        kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_conversion_leaves_nothing(model, tmp_path, monkeypatch):
    class Broken:
        def convert(self):
            raise ValueError("no")

    monkeypatch.setattr(module.tf.lite.TFLiteConverter, "from_saved_model", lambda _: Broken())
    with pytest.raises(RuntimeError, match=r"m\.tflite: LiteRT cannot convert this model"):
        kseg.export_tflite(model, tmp_path / "m.tflite", input_size=SIZE)
    assert list(tmp_path.iterdir()) == []
