import keras
import pytest

import kseg
from kseg.report import multiply_adds, parameters, receptive_field


@pytest.mark.parametrize(
    ("name", "arguments", "size", "giga"),
    [
        ("conv_stack", {"depth": 6, "normalization": None}, (360, 480), 32.27),
        ("unet", {}, (352, 480), 126.87 * 352 / 360),
        ("unet", {"upsampling": "bilinear"}, (352, 480), 105.46 * 352 / 360),
        ("ddrnet", {}, (360, 480), 3.036),
        ("ddrnet", {"variant": "23"}, (720, 960), 47.34),
    ],
)
def test_multiply_adds_are_the_published_ones(name, arguments, size, giga):
    assert multiply_adds(kseg.build(name, 11, **arguments), size) / 1e9 == pytest.approx(giga, rel=2e-3)


def test_a_model_inside_a_model_counts():
    image = keras.Input((None, None, 3))
    encoder = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    flat = multiply_adds(encoder, (224, 224))
    assert flat == multiply_adds(keras.Model(image, encoder(image)), (224, 224))
    assert flat / 1e6 == pytest.approx(299.5, abs=1)  # 300 M with the classifier, Sandler et al. 2018


@pytest.mark.parametrize(("depth", "pixels"), [(1, 3), (4, 9), (6, 13)])
def test_a_stack_sees_two_pixels_more_per_convolution(depth, pixels):
    assert receptive_field(kseg.build_conv_stack(2, depth=depth, filters=2)) == pixels


def test_pooling_and_transposed_convolutions():
    """Two levels by hand: 1 + 2 + 2, pool 1, two convolutions at stride 2, 2×2 up, two convolutions."""
    model = kseg.build_encoder_decoder(2, filters=(2, 2))
    assert receptive_field(model) == 1 + 2 + 2 + 1 + 4 + 4 + 0 + 2 + 2


def test_pooling_the_whole_picture_sees_everything():
    assert receptive_field(kseg.build_ddrnet(2, filters=2)) == float("inf")


def test_parameters_that_learn_and_all():
    assert parameters(kseg.build_unet(11)) == (31_038_283, 31_050_059)
