import keras
import pytest

import kseg
from kseg.costs import multiply_adds, parameters, receptive_field


@pytest.mark.parametrize(
    ("name", "arguments", "size", "giga"),
    [
        ("conv_stack", {"depth": 6, "normalization": None}, (360, 480), 32.27),
        ("unet", {}, (352, 480), 126.87 * 352 / 360),
        ("unet", {"upsampling": "bilinear"}, (352, 480), 105.46 * 352 / 360),
        ("ddrnet", {}, (360, 480), 3.036),
        pytest.param("ddrnet", {"variant": "23"}, (720, 960), 47.34, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow_after(2)
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


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"image": x}])
def test_models_inside_of_models_and_any_form_of_input(wrap):
    image = keras.Input((None, None, 3), name="image")
    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, padding="same")])
    model = keras.Model(wrap(image), inner(image))
    assert multiply_adds(model, (10, 20)) == 200 * 27 * 4
    assert receptive_field(model) == 3


def test_a_backbone_counts():
    model = kseg.build_unet(2, backbone="mobilenet_v2")
    inner = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert multiply_adds(model, (64, 64)) > multiply_adds(inner, (64, 64)) > 1e6


@pytest.mark.parametrize(
    ("variant", "layer", "field"), [("basic", "encoder_pool4", 106), ("vgg16", "encoder_pool5", 212)]
)
def test_pools_with_indices_widen_the_field(variant, layer, field):
    """106 is the figure of the SegNet paper; 212 that of VGG16 after its last pool."""
    model = kseg.build_segnet(2, variant=variant, filters=2)
    pooled, _ = model.get_layer(layer).output
    assert receptive_field(keras.Model(model.input, pooled)) == field
