import keras
import numpy as np
import pytest

from kseg import blocks
from kseg.blocks import aspp, aspp_rates


def picture(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def head(size, rates, **arguments):
    """The head alone, with weights that differ from their initial values everywhere."""
    features = keras.Input((*size, 6))
    model = keras.Model(features, aspp(features, rates, filters=4, **arguments))
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.uniform(0.2, 1.2, w.shape) * rng.choice([1, 1, -1], w.shape) for w in model.get_weights()]
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(np.abs(layer.moving_variance))
    return model


def shifted(image, down, right):
    """`image` moved up by `down` and left by `right`: what a tap of a dilated kernel sees, zeros outside."""
    height, width = image.shape[1:3]
    room = max(abs(down), abs(right))
    padded = np.pad(image, [(0, 0), (room, room), (room, room), (0, 0)])
    return padded[:, room + down : room + down + height, room + right : room + right + width]


def dilated(image, kernel, rate):
    """3×3 convolution, or depthwise where the kernel's last axis is 1, as a sum over nine shifted maps."""
    total = 0
    for i in range(3):
        for j in range(3):
            seen = shifted(image, (i - 1) * rate, (j - 1) * rate)
            total = total + (seen * kernel[i, j, :, 0] if kernel.shape[-1] == 1 else seen @ kernel[i, j])
    return total


def normalized(model, name, x):
    layer = model.get_layer(f"{name}_norm")
    gamma, beta, mean, variance = (np.asarray(w) for w in layer.get_weights())
    return gamma * (x - mean) / np.sqrt(variance + 1e-5) + beta


def kernel(model, name):
    return np.asarray(model.get_layer(name).get_weights()[0])


def restated(model, image, rates, separable):
    """Figure 5 of DeepLab v3 in NumPy."""

    def relu(x):
        return np.maximum(x, 0)

    branches = [relu(normalized(model, "aspp_conv", image @ kernel(model, "aspp_conv")[0, 0]))]
    for rate in rates:
        name = f"aspp_rate{rate}"
        if separable:
            x = dilated(image, kernel(model, f"{name}_depthwise"), rate)
            x = relu(normalized(model, f"{name}_depthwise", x)) @ kernel(model, f"{name}_pointwise")[0, 0]
            branches.append(relu(normalized(model, f"{name}_pointwise", x)))
        else:
            branches.append(relu(normalized(model, name, dilated(image, kernel(model, name), rate))))
    mean = image.mean((1, 2), keepdims=True) @ kernel(model, "aspp_image_conv")[0, 0]
    mean = relu(normalized(model, "aspp_image_conv", mean))
    branches.append(np.broadcast_to(mean, (*image.shape[:3], 4)))
    x = np.concatenate(branches, -1) @ kernel(model, "aspp_projection")[0, 0]
    return relu(normalized(model, "aspp_projection", x))


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("size", "rates"), [((7, 9), (2, 3)), ((3, 1), (1, 6, 12)), ((5, 4), ())])
def test_head_is_the_paper_restated(size, rates, separable):
    model, image = head((None, None), rates, separable=separable), picture(2, *size, 6)
    expected = restated(model, image, rates, separable)
    assert expected.max() > 0.1
    np.testing.assert_allclose(model(image), expected, rtol=1e-4, atol=1e-4)
    static = head(size, rates, separable=separable)
    np.testing.assert_allclose(static(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [8, 9])
def test_a_separable_convolution_strides_from_the_first_pixel(relu, size):
    inputs = keras.Input((size, size, 3))
    options = {"relu": relu, "epsilon": 1e-3, "name": "conv"}
    strided = keras.Model(inputs, blocks.separable_conv(inputs, 4, strides=2, **options))
    dense = keras.Model(inputs, blocks.separable_conv(inputs, 4, **options))
    dense.set_weights(strided.get_weights())
    image = picture(1, size, size, 3)
    np.testing.assert_allclose(strided(image), np.asarray(dense(image))[:, ::2, ::2], atol=1e-6)
    assert (np.asarray(dense(image)).min() >= 0) == relu
    assert {layer.epsilon for layer in dense.layers if "norm" in layer.name} == {1e-3}


@pytest.mark.parametrize(
    ("output_stride", "rates", "expected"),
    [(16, None, (6, 12, 18)), (8, None, (12, 24, 36)), (16, [3, 6, 9], (3, 6, 9)), (32, (), ())],
)
def test_rates(output_stride, rates, expected):
    assert aspp_rates(output_stride, rates) == expected


@pytest.mark.parametrize("rates", [6, (6, 0), (6, 6), (6, 1.5), "6"])
def test_wrong_rates_are_named(rates):
    with pytest.raises(ValueError, match="dilation_rates must be different positive ints or None, got"):
        aspp_rates(16, rates)
