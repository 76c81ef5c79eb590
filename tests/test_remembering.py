"""A model keeps how its picture files are read, through everything that is made of it."""

import json

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

import kseg
from kseg.commands.evaluate import evaluate_files
from kseg.commands.export import export, inspect
from kseg.commands.train import train
from kseg.layers import PixelValues
from kseg.value_range import ValueRange

rng = np.random.default_rng(0)
RANGE = ValueRange(0.0, 4095.0)
PER_BAND = ((0.0, 10.0, -5.0, 0.0), (4095.0, 3000.0, 4000.0, 1000.0))


def built(channels=4, **options):
    keras.utils.set_random_seed(0)
    return kseg.build_conv_stack(2, input_shape=(None, None, channels), depth=2, filters=4, **options)


def deep_file(folder, channels=4, size=(24, 32)):
    pixels = rng.integers(0, 4096, (*size, channels)).astype("uint16")
    form = {"planarconfig": "contig"} if channels > 1 else {}
    path = folder / f"deep{channels}.tif"
    tifffile.imwrite(path, pixels if channels > 1 else pixels[..., 0], photometric="minisblack", **form)
    return path, pixels


def by_hand(model, pixels, low=0.0, high=4095.0):
    """The ids of a model for numbers that were brought to 0–255 by hand."""
    values = np.clip((pixels - np.asarray(low)) / (np.asarray(high) - np.asarray(low)), 0, 1) * 255
    return kseg.predict(model, values.astype("float32"))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_the_layer_passes_pictures_on(dtype, policy):
    layer = PixelValues((0, 4095), dtype=policy)
    pixels = rng.uniform(0, 255, (2, 5, 6, 3)).astype(dtype)
    np.testing.assert_array_equal(layer(pixels), pixels)
    image = keras.Input((None, None, 3), dtype=dtype)
    assert (layer(image).shape, layer(image).dtype) == (image.shape, image.dtype)
    again = PixelValues.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.value_range == RANGE


@pytest.mark.parametrize("value_range", [None, "dtype", (1, 0), (0,), "percentiles"])
def test_the_layer_takes_numbers_alone(value_range):
    with pytest.raises(ValueError, match="value_range must be"):
        PixelValues(value_range)


@pytest.mark.parametrize("name", ["conv_stack", "unet", "deeplabv3plus"])
def test_the_model_stays_what_it_is(name):
    model = kseg.build(name, 3, input_shape=(64, 64, 3))
    kept = kseg.with_value_range(model, (0, 4095))
    assert [each.path for each in kept.weights] == [each.path for each in model.weights]
    assert all(a is b for a, b in zip(kept.weights, model.weights, strict=True))
    assert (kept.name, kept.input_shape, kept.output_shape) == (
        model.name,
        model.input_shape,
        model.output_shape,
    )
    picture = rng.integers(0, 256, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_array_equal(kept(picture), model(picture))
    again = kseg.with_value_range(kept, (0, 255))
    found = [layer.value_range for layer in again.layers if isinstance(layer, PixelValues)]
    assert found == [ValueRange(0.0, 255.0)]
    assert not any(isinstance(layer, PixelValues) for layer in kseg.with_value_range(kept, None).layers)
    np.testing.assert_array_equal(kseg.with_value_range(kept, None)(picture), model(picture))


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"expected a keras\.Model"):
        kseg.with_value_range("model.keras", (0, 1))
    with pytest.raises(ValueError, match=r"value_range names 3 channels, and model .* takes 4"):
        kseg.with_value_range(built(), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ValueError, match="value_range must be"):
        kseg.with_value_range(built(), "dtype")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_a_file_is_read_by_the_range(tmp_path, channels):
    path, pixels = deep_file(tmp_path, channels)
    model = kseg.with_value_range(built(channels), (0, 4095))
    np.testing.assert_array_equal(kseg.predict(model, path), by_hand(model, pixels))
    with pytest.raises(ValueError, match=r"holds \S+ in .*keeps no range.*kseg\.with_value_range"):
        kseg.predict(built(channels), path)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_an_opened_file_is_read_by_the_range_too(dtype):
    pixels = rng.integers(0, 200, (24, 32)).astype(dtype)
    model = kseg.with_value_range(built(1), (0, 200))
    expected = by_hand(model, pixels[..., None], 0, 200)
    np.testing.assert_array_equal(kseg.predict(model, Image.fromarray(pixels)), expected)


@pytest.mark.parametrize("value_range", [(0, 4095), PER_BAND], ids=["one", "per band"])
def test_every_copy_and_file_keeps_it(tmp_path, value_range):
    path, pixels = deep_file(tmp_path)
    model = kseg.with_value_range(built(), value_range)
    expected = by_hand(model, pixels, *value_range)
    files = [tmp_path / name for name in ("m.keras", "m.tflite", "m.onnx", "saved")]
    model.save(files[0])
    reports = [
        kseg.export_tflite(model, files[1], input_size=(24, 32)),
        kseg.export_onnx(model, files[2]),
        kseg.export_saved_model(model, files[3]),
    ]
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    ends = ValueRange(*(tuple(each) if np.ndim(each) else float(each) for each in value_range))
    for each in (model, copy, *files):
        np.testing.assert_array_equal(kseg.predict(each, path), expected)
        assert kseg.inference.open_model(each).value_range == ends
    for report in reports:
        assert report.value_range == ends.as_config()
        assert "picture files hold" in str(report)
    assert f"picture files hold {json.dumps(ends.as_config())}" in inspect(files[1])


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx", "saved"])
def test_a_file_without_a_range_tells_none(tmp_path, name):
    write = {"m.tflite": kseg.export_tflite, "m.onnx": kseg.export_onnx}.get(name, kseg.export_saved_model)
    options = {"input_size": (24, 32)} if name == "m.tflite" else {}
    report = write(built(), tmp_path / name, **options)
    assert report.value_range is None and "picture files" not in str(report)
    assert kseg.inference.open_model(tmp_path / name).value_range is None


def test_an_int8_file_says_that_8_bits_remain(tmp_path):
    pictures = rng.uniform(0, 255, (8, 24, 32, 4)).astype("float32")
    model, path = kseg.with_value_range(built(), (0, 4095)), tmp_path / "m.tflite"
    report = kseg.export_tflite(
        model, path, input_size=(24, 32), quantize="int8", representative_data=pictures
    )
    assert "this file takes 0–255, in 8 bits" in str(report)
    file, pixels = deep_file(tmp_path)
    assert (kseg.predict(path, file) == by_hand(model, pixels)).mean() > 0.95


@pytest.fixture
def deep_root(tmp_path):
    """A function that writes a data set of two classes, bright and dark, in 12 bits of 16."""

    def make(channels):
        for split, count in (("train", 8), ("val", 3)):
            for kind in ("images", "masks"):
                (tmp_path / "data" / split / kind).mkdir(parents=True)
            for index in range(count):
                mask = np.zeros((32, 32), "uint8")
                mask[:, rng.integers(8, 24) :] = 1
                pixels = rng.integers(0, 400, (32, 32, channels)) + 3000 * (mask[..., None] == 1)
                form = {"planarconfig": "contig"} if channels > 1 else {}
                pixels = (pixels if channels > 1 else pixels[..., 0]).astype("uint16")
                images = tmp_path / "data" / split / "images"
                tifffile.imwrite(images / f"{index}.tif", pixels, photometric="minisblack", **form)
                Image.fromarray(mask).save(tmp_path / "data" / split / "masks" / f"{index}.png")
        return tmp_path / "data"

    return make


@pytest.mark.parametrize(("channels", "value_range"), [(4, "percentiles"), (1, (0, 4095))])
@pytest.mark.slow_after(1)
def test_a_training_keeps_it_for_all_that_follows(tmp_path, deep_root, channels, value_range):
    root, run = deep_root(channels), tmp_path / "run"
    model = train(root, run, model="conv_stack", epochs=1, batch_size=2, reading={"value_range": value_range})
    kept = next(layer.value_range for layer in model.layers if isinstance(layer, PixelValues))
    dataset = kseg.data.from_directory(root, "val", batch_size=1, value_range=value_range)
    assert kept.as_tuple() == dataset.value_range and model.input_shape[-1] == dataset.channels
    expected = kseg.evaluate(model, dataset)
    options = {"input_size": (32, 32), "data_root": root}
    report = export(run / "model.keras", run / "m.tflite", **options)
    assert report.same_class == 1
    for name, found in evaluate_files([run / "model.keras", run / "m.tflite"], root).items():
        np.testing.assert_array_equal(found.matrix, expected.matrix, err_msg=name)
    (picture,) = (root / "val/images").glob("0.tif")
    ids = kseg.predict(run / "model.keras", picture)
    np.testing.assert_array_equal(kseg.predict(run / "m.tflite", picture), ids)
    other = kseg.data.from_directory(root, "val", batch_size=1, value_range=(0, 65535))
    with pytest.raises(ValueError, match=r"the dataset was read by value_range=.* was trained with"):
        kseg.evaluate(model, other)
