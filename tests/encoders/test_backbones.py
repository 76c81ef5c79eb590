"""Names, strides, weights and errors of the backbones; dilation: test_dilation.py."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import kseg
from kseg import encoders, graphs
from kseg.encoders import named, weights

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")


def features(backbone, channels=3, **arguments):
    image = keras.Input((None, None, channels))
    return keras.Model(image, encoders.pyramid(image, backbone, **arguments))


def check_strides(pyramid, size, finest=2):
    assert list(pyramid) == [stride for stride in (2, 4, 8, 16, 32) if stride >= finest]
    for stride, tensor in pyramid.items():
        assert tuple(tensor.shape[1:3]) == (size[0] // stride, size[1] // stride)


# The smallest of each family that no other test here builds; the others differ in depth and width.
@pytest.mark.parametrize(("name", "finest"), [("convnext_tiny", 4), ("vgg19", 2), ("xception", 2)])
@pytest.mark.slow_after(1)
def test_every_stride_is_exact(name, finest):
    check_strides(encoders.pyramid(keras.Input((64, 96, 4)), name), (64, 96), finest)


def test_every_name_is_a_function_of_keras():
    for _, names in named._FAMILIES.values():
        assert all(callable(getattr(keras.applications, function)) for function in names.values())
    names = kseg.list_backbones()
    assert len(names) == len(set(names)) == len(named._CSP_DARKNETS) + 35
    assert kseg.list_backbones("vgg*") == ["vgg16", "vgg19"]


def test_details_are_counted_in_the_graph():
    table = kseg.list_backbones("vgg16", details=True)
    assert table == [("vgg16", 14_714_688, {2: 128, 4: 256, 8: 512, 16: 512, 32: 512}, "imagenet")]
    assert str(table).splitlines()[1].startswith("vgg16  14,714,688  {2: 128,")


@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(channels):
    outputs = features("mobilenet", channels)(np.zeros((1, 37, 33, channels), "float32"))
    check_strides(outputs, (64, 64))


@pytest.mark.parametrize(("expects", "mode"), [("unit", "tf"), ("standardized", "torch"), ("caffe", "caffe")])
def test_normalizations_are_those_of_keras(expects, mode):
    theirs = keras.src.applications.imagenet_utils.preprocess_input(IMAGE.copy(), mode=mode)
    ours = weights.normalization_for(expects, 3)(IMAGE)
    np.testing.assert_allclose(ours[..., ::-1] if mode == "caffe" else ours, theirs, atol=1e-4)


def pretend_download(monkeypatch, function):
    """Let keras.applications' function give random weights where it would download some."""
    build, made = getattr(keras.applications, function), []

    def fake(weights, **kwargs):
        model = build(weights=None, **kwargs)
        if weights == "imagenet":
            made.append(model)
        return model

    monkeypatch.setattr(keras.applications, function, fake)
    return made


PREPROCESSED = {
    "mobilenet": ("MobileNet", keras.applications.mobilenet.preprocess_input),
    "vgg16": ("VGG16", keras.applications.vgg16.preprocess_input),
    "efficientnet_v2_b0": ("EfficientNetV2B0", None),  # in the model
    "mobilenet_v3_small": ("MobileNetV3Small", None),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "efficientnet_v2_b0" else [])
        for name in PREPROCESSED
    ],
)
def test_raw_pixels_give_what_keras_applications_gives_after_its_preprocessing(name, monkeypatch):
    function, preprocess = PREPROCESSED[name]
    build = getattr(keras.applications, function)
    made = pretend_download(monkeypatch, function)
    outputs = features(name, weights="imagenet")(IMAGE, training=False)
    check_strides(outputs, (64, 96))
    (theirs,) = made
    if name == "vgg16":  # reversed in place, for RGB; its own preprocessing gives BGR
        weights.swap_red_and_blue(theirs)
    if preprocess is None:
        pretrained = theirs.get_weights()
        theirs = build(include_top=False, weights=None, input_shape=(None, None, 3))
        theirs.set_weights(theirs.get_weights()[: -len(pretrained)] + pretrained)  # statistics come first
    expected = theirs(preprocess(IMAGE.copy()) if preprocess else IMAGE, training=False)
    np.testing.assert_allclose(outputs[32], expected, atol=1e-4 * float(np.abs(expected).max()))


def test_efficientnet_v1_keeps_its_scaling(monkeypatch):
    """Keras' own layers with the statistics of the downloaded file (tensorflow issue 49930)."""
    made = pretend_download(monkeypatch, "EfficientNetB0")
    outputs = features("efficientnet_b0", weights="imagenet")(IMAGE, training=False)
    check_strides(outputs, (64, 96))
    (model,) = made
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    inside = keras.Model(model.get_layer("stem_conv_pad").input, encoders.strides.levels(model)[2])
    expected = inside((IMAGE / 255 - mean) / np.sqrt(std) / np.sqrt(std), training=False)
    np.testing.assert_allclose(outputs[2], expected, atol=1e-4 * float(np.abs(expected).max()))


TINTS = [(channels, expects) for expects in ("unit", "caffe") for channels in (1, 2, 4, 6)]
QUICK = [(1, "unit"), (4, "unit"), (1, "caffe"), (2, "caffe"), (6, "caffe")]


@pytest.mark.parametrize(
    ("channels", "expects"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in TINTS],
)
@pytest.mark.slow_after(2)
def test_grey_in_any_number_of_channels_gives_the_features_of_grey_in_rgb(channels, expects, monkeypatch):
    monkeypatch.setitem(named._FAMILIES, "mobilenet", (expects, {"mobilenet": "MobileNet"}))
    made = pretend_download(monkeypatch, "MobileNet")
    monkeypatch.setattr(keras.applications, "MobileNet", _quarter(keras.applications.MobileNet))
    grey = IMAGE[..., :1]
    got = features("mobilenet", channels, weights="imagenet")(np.repeat(grey, channels, -1), training=False)
    tint = np.asarray(weights._EXPECTED[expects][0]) if channels < 3 else np.zeros(3)
    color = (grey + tint - tint.mean()).astype("float32")  # below 3 channels: grey in the mean tint
    normalized = weights.normalization_for(expects, 3)(color)
    (rgb,) = made
    expected = {32: rgb(normalized, training=False)}
    np.testing.assert_allclose(got[32], expected[32], atol=1e-4 * float(np.abs(expected[32]).max()))


def _quarter(build):
    return lambda **kwargs: build(**kwargs, alpha=0.25)


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    """Weights of a MobileNet for RGB, and the model they come from."""
    path = tmp_path_factory.mktemp("weights") / "encoder.weights.h5"
    encoder = features("mobilenet").get_layer("mobilenet")
    encoder.save_weights(path)
    return path, encoder


def test_a_file_for_rgb_serves_four_channels(encoder_file):
    path, encoder = encoder_file
    kernel = np.asarray(encoder.get_layer("conv1").kernel)
    model = features("mobilenet", 4, weights=path)
    got = np.asarray(model.get_layer("mobilenet").get_layer("conv1").kernel)
    np.testing.assert_allclose(got[:, :, [0, 3]], kernel[:, :, [0, 0]] / 2)
    np.testing.assert_allclose(got[:, :, 1:3], kernel[:, :, 1:])


def test_six_channels_are_the_kernel_tiled_and_halved():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    np.testing.assert_allclose(weights.adapt_stem(kernel, 6), np.concatenate([kernel, kernel], 2) * 3 / 6)
    np.testing.assert_allclose(weights.adapt_stem(kernel, 1), kernel.sum(2, keepdims=True))


def test_weights_from_a_file_come_back_at_any_output_stride(encoder_file):
    path, encoder = encoder_file
    again = features("mobilenet", weights=path, output_stride=16).get_layer("mobilenet")
    for expected, got in zip(encoder.weights, again.weights, strict=True):
        np.testing.assert_array_equal(got, expected)
    # batch norms settle in a short training: Keras' own momentum is 0.99, MobileNetV2's 0.999
    for model, momentum in ((encoder, 0.9), (again, 0.99)):
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert {layer.momentum for layer in norms} == {momentum}


def test_a_functional_model_is_a_backbone():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    last = keras.layers.Conv2D(6, 3, strides=2, padding="same")(x)
    model = kseg.build_unet(3, backbone=keras.Model(image, last, name="mine"), decoder_filters=(8, 4))
    assert model.get_layer("mine").get_layer(index=1).filters == 4
    assert model(IMAGE).shape == (1, 64, 96, 3)


def test_declared_outputs_win_over_later_layers():
    """keras-hub's backbones are functional models with `pyramid_outputs`."""
    image = keras.Input((None, None, 3))
    first = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    last = keras.layers.Conv2D(6, 1)(first)
    model = keras.Model(image, last)
    assert encoders.pyramid(image, model)[2].shape[-1] == 6
    model.pyramid_outputs = {"P7": first}
    assert encoders.pyramid(image, model)[2].shape[-1] == 4


@pytest.mark.parametrize("declared", [None, "tensor", "name"])
@pytest.mark.parametrize("output_stride", [None, 8])
def test_layers_that_another_model_calls_too(declared, output_stride):
    """A model with a range, for instance, shares the layers of the one that it was made of."""
    x = image = keras.Input((None, None, 3))
    for stride in (2, 4, 8, 16):
        x = keras.layers.Conv2D(stride, 3, strides=2, padding="same", name=f"stride{stride}")(x)
    model = keras.Model(image, keras.layers.ReLU()(x), name="mine")
    twin = kseg.with_value_range(model, (0, 4095))
    for each in (model, twin):
        if declared:
            (call,) = graphs.calls_of(each, each.get_layer("stride2"))
            each.pyramid_outputs = {"P1": "stride2" if declared == "name" else call.outputs[0]}
        features = encoders.pyramid(IMAGE, each, output_stride=output_stride)
        channels = {stride: tensor.shape[-1] for stride, tensor in features.items()}
        assert channels == ({2: 2, 4: 4, 8: 16} if output_stride else {2: 2, 4: 4, 8: 8, 16: 16})


def tiny_keras_cv():
    import keras_cv

    return {
        "mobilenet_v3": keras_cv.models.MobileNetV3Backbone(
            stackwise_expansion=[1, 4, 4, 4],
            stackwise_filters=[8, 16, 16, 16],
            stackwise_kernel_size=[3, 3, 5, 5],
            stackwise_stride=[2, 2, 2, 2],
            stackwise_se_ratio=[0.25, None, 0.25, 0.25],
            stackwise_activation=["relu", "relu", "hard_swish", "hard_swish"],
            include_rescaling=True,
        ),
        "efficientnet_v2": keras_cv.models.EfficientNetV2Backbone(
            include_rescaling=True,
            width_coefficient=0.25,
            depth_coefficient=0.1,
            stackwise_kernel_sizes=[3] * 6,
            stackwise_num_repeats=[1] * 6,
            stackwise_input_filters=[32, 16, 32, 48, 96, 112],
            stackwise_output_filters=[16, 32, 48, 96, 112, 192],
            stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
            stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
            stackwise_strides=[1, 2, 2, 2, 1, 2],
            stackwise_conv_types=["fused", "fused", "fused", "unfused", "unfused", "unfused"],
        ),
    }


@pytest.mark.slow
def test_keras_cv_backbones_compute_the_same_and_load_where_only_kseg_is_imported(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    made = tiny_keras_cv() | {"csp_darknet_tiny": named._csp_darknet("csp_darknet_tiny", 3, None)}
    for name, backbone in made.items():
        model = features(backbone)
        np.testing.assert_allclose(
            model(IMAGE)[32],
            keras.Model(backbone.input, encoders.strides.levels(backbone))(IMAGE)[32],
            atol=1e-5,
        )
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", model(IMAGE)[32])
    script = f"""
import sys, keras, numpy as np, kseg
for name in {list(made)}:
    model = keras.models.load_model(rf"{tmp_path}/{{name}}.keras")
    got = model(np.load(r"{tmp_path}/image.npy"))
    np.testing.assert_allclose(got[max(got, key=int)], np.load(rf"{tmp_path}/{{name}}.npy"), atol=1e-4)
assert "keras_cv" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def offline(*args, **kwargs):
    raise Exception("URL fetch failure on https://host/weights.h5: None -- Connection refused")  # as Keras


def test_without_network_the_file_and_its_place_are_named(monkeypatch):
    monkeypatch.setattr(keras.applications, "MobileNetV2", offline)
    with pytest.raises(OSError, match=r"'mobilenet_v2'.*https://host/weights\.h5.*~/\.keras/models"):
        features("mobilenet_v2", weights="imagenet")


@pytest.mark.parametrize(
    ("backbone", "arguments", "error", "message"),
    [
        ("resnet5O", {}, ValueError, r"unknown backbone 'resnet5O'; did you mean 'resnet50'\?"),
        (keras.layers.Dense(2), {}, TypeError, "functional keras.Model, got Dense"),
        ("mobilenet", {"weights": "imagnet"}, ValueError, "'imagnet'; did you mean 'imagenet'"),
        (
            "mobilenet_v2",
            {"weights": "no.weights.h5"},
            ValueError,
            r"'no\.weights\.h5': there is no such file",
        ),
        ("mobilenet_v2", {"output_stride": 12}, ValueError, r"output_stride must be one of \(8, 16, 32\)"),
        ("csp_darknet_s", {"weights": "imagenet"}, ValueError, "has no 'imagenet' weights"),
    ],
)
def test_wrong_arguments_are_named(backbone, arguments, error, message):
    with pytest.raises(error, match=message):
        features(backbone, **arguments)


def test_weights_of_another_backbone_are_refused(encoder_file, tmp_path):
    path, _ = encoder_file
    with pytest.raises(ValueError, match=r"encoder\.weights\.h5.* cannot be loaded into 'vgg16'"):
        features("vgg16", weights=path)
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"broken\.weights\.h5.* cannot be loaded into 'vgg16'"):
        features("vgg16", weights=broken)
