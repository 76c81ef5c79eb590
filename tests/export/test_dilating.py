import keras
import numpy as np
import pytest

import kseg
from kseg.inference import open_model

layers = keras.layers


def branch(size=3, rate=2, padding="same", kind=layers.Conv2D, **more):
    """Return a function of a tensor that makes a new layer each time."""
    filters = () if kind is layers.DepthwiseConv2D else (8,)
    return lambda x: kind(*filters, size, dilation_rate=rate, padding=padding, **more)(x)


DEPTHWISE = branch(kind=layers.DepthwiseConv2D, depth_multiplier=2)
PARALLEL = {
    "alike": [branch(), branch()],
    "of two sizes": [branch(rate=3), branch(size=5, rate=3)],
    "with even kernels": [branch(size=2, rate=3), branch(size=2, rate=3)],
    "with rates per side": [branch(rate=(1, 4)), branch(rate=(1, 4))],
    "per channel": [DEPTHWISE, branch(kind=layers.SeparableConv2D)],
    "without padding": [branch(padding="valid"), branch(padding="valid")],
    "in two ways": [branch(), branch(), lambda x: layers.ZeroPadding2D(2)(branch(padding="valid")(x))],
}


def joined(branches, after=()):
    """Return a model whose branches read one tensor, each followed by new layers of `after`."""
    keras.utils.set_random_seed(0)
    image = keras.Input((31, 44, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    made = [each(x) for each in branches]
    for make in after:
        made = [make()(each) for each in made]
    model = keras.Model(image, layers.Conv2D(3, 1)(layers.Concatenate()(made)))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([*np.random.default_rng(0).uniform(0.5, 2, (4, 8))])
    return model


def largest_difference(model, path):
    """Return how far a file's scores are from the model's, as a share of their range."""
    picture = np.random.default_rng(1).integers(0, 256, (1, 31, 44, 3)).astype("float32")
    expected, given = model(picture).numpy(), open_model(path).run(picture)
    return np.abs(given - expected).max() / np.ptp(expected)


@pytest.mark.parametrize(("mode", "most"), [(None, 1e-5), ("float16", 2e-3), ("dynamic", 5e-2)])
@pytest.mark.parametrize("branches", PARALLEL.values(), ids=PARALLEL)
def test_convolutions_of_one_map_at_one_rate_keep_their_dilation(branches, mode, most, tmp_path):
    model = joined(branches)
    report = kseg.export_tflite(model, tmp_path / "model.tflite", quantize=mode)
    assert not {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"} & set(report.operators)
    assert largest_difference(model, tmp_path / "model.tflite") <= most


AFTER = {
    "normalised and activated": [layers.BatchNormalization, layers.ReLU],
    "normalised": [layers.BatchNormalization],
    "up to six": [layers.BatchNormalization, lambda: layers.ReLU(6.0)],
    "activated, then normalised": [layers.ReLU, layers.BatchNormalization],
}


@pytest.mark.parametrize("mode", [None, "int8"])
@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER)
def test_what_follows_goes_into_the_convolution(after, mode, tmp_path):
    model = joined([branch(), branch(), branch(kind=layers.DepthwiseConv2D)], after)
    pictures = np.random.default_rng(2).integers(0, 256, (8, 31, 44, 3)).astype("uint8")
    given = pictures if mode == "int8" else None
    report = kseg.export_tflite(model, tmp_path / "model.tflite", quantize=mode, representative_data=given)
    whole = {"CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "QUANTIZE"}
    beyond = {"MUL", "ADD"} if after[0] is layers.ReLU else set()  # what follows an activation
    assert set(report.operators) <= whole | beyond
    assert largest_difference(model, tmp_path / "model.tflite") <= (1e-5 if mode is None else 5e-2)
