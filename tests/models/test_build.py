import inspect

import keras
import numpy as np
import pytest

import kseg

BUILDERS = [getattr(kseg, f"build_{name}") for name in kseg.list_models()]


def test_build_by_name_is_the_builder():
    by_name = kseg.build("unet", 5, (32, 32, 3), filters=4)
    assert by_name.count_params() == kseg.build_unet(5, (32, 32, 3), filters=4).count_params()


def test_unknown_model_offers_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model 'unett'; did you mean 'unet'\?"):
        kseg.build("unett", 2)


def test_unknown_argument_is_named():
    with pytest.raises(TypeError, match="'unet' takes no argument 'filter'; it takes num_classes"):
        kseg.build("unet", 2, filter=4)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("num_classes", [0, -1, 256, 2.5, "3", None, True])
def test_num_classes_must_be_a_count(builder, num_classes):
    with pytest.raises(ValueError, match=r"num_classes must be an int in 1\.\.255"):
        builder(num_classes)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"channels first\? Move them last: \(64, 64, 3\)"),
        ((3, None, None), "channels first"),
        ((64, 64), r"must be \(H, W, C\)"),
        ((None, 64, 64, 3), r"must be \(H, W, C\)"),
        ((64, 64, None), "needs its number of channels"),
        ((0, 64, 3), r"must be \(H, W, C\)"),
        (64, r"must be \(H, W, C\)"),
    ],
)
def test_input_shape_must_be_height_width_channels(builder, shape, message):
    with pytest.raises(ValueError, match=message):
        builder(2, shape)


WRONG = [  # argument, value, message; for the builders that take the argument
    ("activation", "softmx", "unknown activation 'softmx'; did you mean 'softmax'"),
    ("dropout", 1.0, r"dropout must be a number in \[0, 1\), got 1.0"),
    ("dropout", -0.1, r"dropout must be a number in \[0, 1\), got -0.1"),
    ("dropout", "a", r"dropout must be a number in \[0, 1\), got 'a'"),
    ("filters", 0, "filters .*must be"),
    ("filters", 2.5, "filters .*must be"),
    ("filters", True, "filters .*must be"),
    ("normalization", "bach", "unknown normalization 'bach'; did you mean 'batch'"),
    ("output_stride", 4, r"output_stride must be one of \(8, 16, 32"),
    ("upsampling", "bilnear", "unknown upsampling 'bilnear'; did you mean 'bilinear'"),
    ("variant", "vg16", "unknown variant 'vg16'"),
    ("backbone", "resnet5O", "unknown backbone 'resnet5O'; did you mean 'resnet50'"),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG)
@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.slow_after(15)
def test_a_wrong_argument_is_named(builder, argument, value, message):
    taken = inspect.signature(builder).parameters
    arguments = {"filters": 6} if "filters" in taken and argument != "backbone" else {}
    if argument in taken:
        with pytest.raises(ValueError, match=message):
            builder(2, (64, 64, 3), **{**arguments, argument: value})


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.slow_after(4)
def test_softmax_over_one_class_is_refused(builder):
    arguments = {"filters": 6} if "filters" in inspect.signature(builder).parameters else {}
    with pytest.raises(ValueError, match="softmax over num_classes=1 is always 1"):
        builder(1, (64, 64, 3), activation="softmax", **arguments)


def backbone_of(*strides, size=None, channels=3):
    x = image = keras.Input((size, size, channels))
    before = 1
    for stride in strides:
        x = keras.layers.Conv2D(4, 3, strides=stride // before, padding="same")(x)
        before = stride
    return keras.Model(image, x, name="mine")


ALL = (2, 4, 8, 16, 32)


@pytest.mark.parametrize("name", ["deeplabv3", "pspnet", "deeplabv3plus", "fcn"])
@pytest.mark.parametrize(
    ("strides", "options", "shape", "message"),
    [
        ((2, 4, 8), {}, (96, 96, 3), "none at output_stride=16|output_stride=16: the backbone"),
        (ALL, {"size": 100}, (100, 100, 3), "multiple of the strides|output_stride=16: the backbone"),
        (ALL, {}, (96, 96, 1), "takes pictures of 3 channels, input_shape has 1"),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused(name, strides, options, shape, message):
    with pytest.raises(ValueError, match=message):
        kseg.build(name, 3, shape, backbone=backbone_of(*strides, **options), output_stride=16)


@pytest.mark.parametrize("name", ["deeplabv3", "pspnet"])
def test_auxiliary_heads_need_stride_16(name):
    with pytest.raises(ValueError, match=r"aux_heads needs features at stride 16, .* \[2, 4, 8, 32\]"):
        kseg.build(name, 3, backbone=backbone_of(2, 4, 8, 32), output_stride=32, aux_heads=True, filters=2)


def test_a_backbone_takes_one_picture():
    a, b = keras.Input((64, 64, 3)), keras.Input((64, 64, 3))
    with pytest.raises(ValueError, match="has 2 inputs; it must take one picture"):
        kseg.build_unet(2, backbone=keras.Model([a, b], keras.layers.Conv2D(2, 3, strides=2)(a + b)))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("deeplabv2", {"dilation_rates": [], "filters": 2}, "dilation_rates is empty"),
        ("conv_stack", {"depth": "3"}, "depth must be a positive int, got '3'"),
        ("conv_stack", {"depth": 0}, "depth must be a positive int, got 0"),
        ("conv_stack", {"depth": True}, "depth must be a positive int, got True"),
        (
            "unet",
            {"backbone": "mobilenet_v2", "decoder_filters": 16},
            "decoder_filters must be positive ints",
        ),
        (["unet"], {}, "unknown model"),
    ],
)
def test_more_wrong_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        kseg.build(name, 2, **arguments)


def test_numbers_of_numpy_are_numbers():
    shape = np.array([32, 48, 3])
    model = kseg.build_unet(np.int64(2), shape, filters=np.int32(2), dropout=np.float32(0.1))
    assert model.output_shape == (None, 32, 48, 2)
    rates = np.array([1, 2])
    assert kseg.build_deeplabv2(2, (32, 32, 3), filters=2, dilation_rates=tuple(rates)).count_params() > 0
