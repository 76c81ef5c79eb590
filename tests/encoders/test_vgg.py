import keras
import numpy as np
import pytest

from kseg.encoders import vgg
from kseg.encoders.weights import adapt_stem
from kseg.layers import PadToMultiple

WIDTHS = (64, 128, 256, 512, 512, 1)
IMAGE = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")


@pytest.fixture(scope="module")
def original():
    keras.utils.set_random_seed(0)
    model = keras.applications.VGG16(include_top=False, weights=None)
    for layer in model.layers:  # biases that show when they are lost
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 1.7, 0.1 * np.random.default_rng(1).standard_normal(bias.shape)])
    return model


@pytest.fixture(scope="module")
def path(original, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg16.weights.h5"
    original.save_weights(path)
    return str(path)


def encoder(channels=3, weights=None, **arguments):
    image = keras.Input((None, None, channels), name="image")
    x = PadToMultiple(32, name="pad")(vgg.normalize_image(image))
    model = keras.Model(image, vgg.vgg16(x, **arguments))
    vgg.load_vgg16(model, weights)
    return model


def test_raw_pixels_give_what_keras_applications_gives_after_its_preprocessing(original, path):
    levels = [original.get_layer(f"block{block}_pool").output for block in range(1, 6)]
    expected = keras.Model(original.input, levels)(keras.applications.vgg16.preprocess_input(IMAGE.copy()))
    for ours, theirs in zip(encoder(weights=path)(IMAGE), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.abs(theirs).max()))


def test_pretrained_weights_come_from_keras_itself(original, monkeypatch):
    monkeypatch.setattr(keras.applications, "VGG16", lambda include_top, weights: original)
    kernel = encoder(weights="imagenet").get_layer("encoder_block3_conv2").kernel
    np.testing.assert_array_equal(kernel, original.get_layer("block3_conv2").kernel)


def test_a_failed_download_is_an_os_error(monkeypatch):
    def fail(**_):
        raise Exception("no network")  # the class Keras raises

    monkeypatch.setattr(keras.applications, "VGG16", fail)
    with pytest.raises(OSError, match="could not be loaded: no network; give a path"):
        encoder(weights="imagenet", filters=2)


def test_a_grey_picture_gives_what_it_gives_as_rgb(path):
    """Up to the means, three of which become one: compared as differences, inside the border."""
    bright, dark = np.abs(IMAGE[..., :1]), np.zeros_like(IMAGE[..., :1])
    steps = []
    for model, channels in ((encoder(1, path), 1), (encoder(3, path), 3)):
        first = keras.Model(model.input, model.get_layer("encoder_block1_conv1").output)
        steps.append(first(bright.repeat(channels, -1)) - first(dark.repeat(channels, -1)))
    np.testing.assert_allclose(*(step[:, 1:-1, 1:-1] for step in steps), atol=1e-3)
    np.testing.assert_allclose(model.get_layer("normalization").offset[0] * -127.5, 123.68)


def test_other_channels_follow_the_rule_of_all_backbones(path):
    three = np.asarray(encoder(3, path).get_layer("encoder_block1_conv1").kernel)
    for channels in (1, 2, 4, 6):
        kernel = np.asarray(encoder(channels, path).get_layer("encoder_block1_conv1").kernel)
        np.testing.assert_allclose(kernel, adapt_stem(three, channels), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"filters": 32}, "needs the widths of VGG16, filters=64: encoder_block1_conv1")],
)
def test_other_widths_take_no_pretrained_weights(path, arguments, message):
    with pytest.raises(ValueError, match=message):
        encoder(weights=path, **arguments)


def test_a_file_that_does_not_fit_is_named(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save_weights(tmp_path / "a.weights.h5")
    for name in ("a.weights.h5", "none.weights.h5"):
        with pytest.raises(ValueError, match=f"{name}' cannot be loaded into VGG16"):
            encoder(weights=str(tmp_path / name), filters=2)


def test_every_layer_has_what_it_was_asked_for():
    model = encoder(filters=2, normalization="batch", dilation_rates=(1, 1, 1, 2, 4))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [2] * 2 + [4] * 2 + [8] * 3 + [16] * 6
    assert [layer.dilation_rate[0] for layer in convolutions] == [1] * 7 + [2] * 3 + [4] * 3
    assert all(layer.use_bias for layer in convolutions)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers) == 13


def test_the_atrous_encoder_keeps_stride_8():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, vgg.atrous_vgg16(image, filters=2))
    assert model(IMAGE).shape == (1, 8, 12, 16)
    rates = [layer.dilation_rate[0] for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert rates == [1] * 10 + [2] * 3


def test_the_atrous_encoder_lies_over_the_picture():
    """All weights equal: a bright square of 8 × 8 pixels moves the features about its own cell."""
    image = keras.Input((168, 168, 1))
    model = keras.Model(image, vgg.atrous_vgg16(image, filters=1))
    model.set_weights(
        [np.full(w.shape, 1 / w[..., 0].size if w.ndim == 4 else 0) for w in model.get_weights()]
    )
    bright = np.zeros((1, 168, 168, 1), "float32")
    bright[:, 80:88, 80:88] = 1
    change = np.asarray(model(bright) - model(np.zeros_like(bright)))[0].sum(-1)
    for axis in (0, 1):
        profile = change.sum(axis)
        centre = (profile * np.arange(21)).sum() / profile.sum()
        assert abs(centre - 10) < 0.15  # cells of 8 pixels; always padding one way gives 0.44


@pytest.mark.parametrize("size", [(2, 2), (6, 10)])
def test_pooling_padded_before_is_that_of_windows_about_even_pixels(size):
    x = np.abs(np.random.default_rng(0).standard_normal((1, *size, 2))).astype("float32")
    expected = np.zeros((1, size[0] // 2, size[1] // 2, 2))
    for i in range(size[0] // 2):
        for j in range(size[1] // 2):
            window = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            expected[:, i, j] = window.max((1, 2))
    inputs = keras.Input((*size, 2))
    model = keras.Model(inputs, vgg.max_pool_before(inputs, name="encoder_pool"))
    np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize("filters", [0, (1, 2), (1, 2, 3, 4, 5, 0), (1, 2, 3, 4, 5, 2.5)])
def test_wrong_widths_are_named(filters):
    with pytest.raises(ValueError, match="filters must be a positive int or six"):
        vgg.vgg_widths(filters)
