import keras
import numpy as np
import pytest

from kseg import build_deeplabv3


def rates(model):
    return {
        layer.name: layer.dilation_rate[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.dilation_rate != (1, 1)
    }


@pytest.mark.parametrize(
    ("output_stride", "stage4", "stage5", "head", "size"),
    [
        (8, 2, (4, 8, 16), (12, 24, 36), (9, 13)),
        (16, None, (2, 4, 8), (6, 12, 18), (5, 7)),
        (32, None, (1, 2, 4), (3, 6, 9), (3, 4)),
    ],
)
def test_output_stride_and_multi_grid(output_stride, stage4, stage5, head, size):
    model = build_deeplabv3(2, (65, 97, 3), filters=1, output_stride=output_stride)
    expected = {f"aspp_rate{rate}": rate for rate in head}
    expected |= {f"encoder_stage5_unit{unit}_conv2": r for unit, r in enumerate(stage5, 1) if r > 1}
    expected |= {f"encoder_stage4_unit{unit}_conv2": stage4 for unit in range(1, 7) if stage4}
    assert rates(model) == expected
    assert model.get_layer("aspp_concat").output.shape[1:3] == size


def test_the_whole_picture_reaches_every_pixel():
    """The image-level branch: a far corner changes scores that no dilated kernel connects."""
    model = build_deeplabv3(2, (320, 320, 1), filters=1, dilation_rates=(), multi_grid=(1, 1, 1))
    for layer in model.layers:
        if layer.name.startswith(("aspp", "logits")) and not layer.name.endswith("norm"):
            layer.set_weights([np.ones_like(w) for w in layer.get_weights()])
    features = keras.Model(model.input, model.get_layer("aspp_image_resize").output)
    dark = np.zeros((1, 320, 320, 1), "float32")
    point = dark.copy()
    point[0, :64, :64] = 255
    change = np.abs(features(point) - features(dark))
    assert change.min() == pytest.approx(change.max()) and change.max() > 0


def test_a_backbone_is_dilated_to_the_output_stride():
    model = build_deeplabv3(2, (65, 97, 3), backbone="mobilenet_v2", output_stride=8, filters=2)
    assert model.get_layer("aspp_concat").output.shape == (None, 9, 13, 40)
    assert model(np.zeros((1, 65, 97, 3))).shape == (1, 65, 97, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "resnet5O"}, "unknown variant 'resnet5O'; did you mean 'resnet50'"),
        ({"output_stride": 4}, r"output_stride must be one of \(8, 16, 32\)"),
        ({"dilation_rates": (0,)}, "dilation_rates must be different positive ints"),
        ({"multi_grid": (1,)}, "multi_grid needs three"),
        ({"backbone_weights": "imagenet"}, "backbone_weights needs a named backbone"),
        ({"filters": -1}, "filters must be a positive int"),
        ({"filters": 1, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_deeplabv3(2, **arguments)
