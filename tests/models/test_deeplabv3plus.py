import keras
import numpy as np
import pytest

from kseg import build_deeplabv3plus
from kseg.encoders.mobilenet import mobilenet_v2
from kseg.encoders.xception import xception65


def test_parameters_of_xception_by_part():
    """Keras totals of the reference's entry, middle and exit flow."""
    image = keras.Input((None, None, 3))
    model = keras.Model(image, xception65(image)[16])
    parts = {"entry": 0, "middle": 0, "exit": 0}
    for layer in model.layers:
        if layer.name.startswith("encoder_"):
            parts[layer.name.split("_")[1]] += layer.count_params()
    assert parts == {"entry": 1_750_672, "middle": 26_033_280, "exit": 10_268_560}


def depthwise(model):
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    return [(layer.name, layer.strides[0], layer.dilation_rate[0]) for layer in layers]


@pytest.mark.parametrize(
    ("output_stride", "middle", "exit1", "exit2", "strided"),
    [(16, 1, 1, 2, "123"), (8, 2, 2, 4, "12"), (32, 1, 1, 1, "123x")],
)
@pytest.mark.slow_after(1)
def test_strides_and_dilation_of_xception(output_stride, middle, exit1, exit2, strided):
    image = keras.Input((65, 97, 3))
    features = xception65(image, output_stride=output_stride, filters=1)
    assert features[4].shape[1:3] == (17, 25)
    assert features[output_stride].shape[1:3] == (64 // output_stride + 1, 96 // output_stride + 1)
    found = depthwise(keras.Model(image, features[output_stride]))
    expected = {"entry": 1, "middle": middle, "exit_block1": exit1, "exit_block2": exit2}
    for name, stride, rate in found:
        assert rate == next(value for part, value in expected.items() if part in name) or stride > 1
    names = {"1": "entry_block1", "2": "entry_block2", "3": "entry_block3", "x": "exit_block1"}
    wanted = [f"encoder_{names[key]}_conv3_depthwise" for key in strided]
    assert [name for name, stride, _ in found if stride == 2] == wanted


@pytest.mark.parametrize(
    ("output_stride", "strided", "rates"),
    [
        (8, [1, 3], [1] * 7 + [2] * 7 + [4] * 3),
        (16, [1, 3, 6], [1] * 14 + [2] * 3),
        (32, [1, 3, 6, 13], [1] * 17),
    ],
)
def test_strides_and_dilation_of_mobilenet(output_stride, strided, rates):
    image = keras.Input((65, 97, 3))
    features = mobilenet_v2(image, output_stride=output_stride, filters=8)[output_stride]
    assert features.shape[1:3] == (64 // output_stride + 1, 96 // output_stride + 1)
    found = depthwise(keras.Model(image, features))
    assert [number for number, (_, stride, _) in enumerate(found) if stride == 2] == strided
    assert [rate for _, _, rate in found] == rates


def test_xception_takes_any_size_static_and_open():
    size = (1, 50)
    flexible = build_deeplabv3plus(3, filters=4)
    static = build_deeplabv3plus(3, (*size, 3), filters=4)
    static.set_weights(flexible.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    scores = flexible(image, training=False)
    assert scores.shape == (1, *size, 3) and scores.dtype == "float32"
    np.testing.assert_allclose(static(image, training=False), scores, atol=1e-4)


def test_the_decoder_reads_stride_4_before_the_relu():
    model = build_deeplabv3plus(2, (64, 96, 3), filters=4)
    tap = model.get_layer("decoder_low_level").input
    assert tap is model.get_layer("encoder_entry_block2_conv2_pointwise_norm").output
    assert tap.shape[1:] == (16, 24, 16)


def test_the_decoder_reads_the_second_stage_of_a_resnet():
    resnet = build_deeplabv3plus(2, (64, 96, 3), variant="resnet50", filters=2)
    assert resnet.get_layer("decoder_low_level").input is resnet.get_layer("encoder_stage2_unit3_relu").output


def test_widths_of_the_decoder():
    model = build_deeplabv3plus(21, variant="resnet50", separable=False)
    assert model.get_layer("decoder_low_level").filters == 48
    assert model.get_layer("decoder_concat").output.shape[-1] == 304
    assert model.get_layer("decoder_conv1").filters == model.get_layer("decoder_conv2").filters == 256


def test_mobilenet_as_published_has_no_decoder_and_no_rates():
    names = {layer.name for layer in build_deeplabv3plus(2, variant="mobilenet_v2", filters=8).layers}
    assert not any(name.startswith(("decoder", "aspp_rate")) for name in names)
    arguments = {"variant": "mobilenet_v2", "filters": 8, "dilation_rates": (6, 12)}
    names = {layer.name for layer in build_deeplabv3plus(2, **arguments).layers}
    assert {"aspp_rate6_depthwise", "aspp_rate12_depthwise"} <= names


def test_a_backbone_needs_stride_4():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    for stride in (8, 16):
        x = keras.layers.Conv2D(4, 3, strides=8 if stride == 8 else 1, padding="same")(x)
    with pytest.raises(ValueError, match="backbone has no features at stride 4"):
        build_deeplabv3plus(2, backbone=keras.Model(image, x), output_stride=16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "xception"}, "unknown variant 'xception'; did you mean 'xception65'"),
        ({"output_stride": 4}, r"output_stride must be one of \(8, 16, 32\)"),
        ({"backbone_weights": "imagenet"}, "backbone_weights needs a named backbone"),
        ({"filters": 1.5}, "filters must be a positive int"),
        ({"variant": "mobilenet_v2", "dilation_rates": (3, 3)}, "dilation_rates must be different"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_deeplabv3plus(2, **arguments)
