import keras
import numpy as np
import pytest

from kseg import build_dilatednet
from kseg.models.dilatednet import ContextIdentity


def convolutions(model, prefix):
    return [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith(prefix)
    ]


@pytest.mark.parametrize(
    ("arguments", "rates", "widths"),
    [
        ({}, (1, 1, 2, 4, 8, 16, 1, 1), (3,) * 8),
        ({"context": "large"}, (1, 1, 2, 4, 8, 16, 1, 1), (6, 6, 12, 24, 48, 96, 96, 3)),
        ({"variant": "dilation10"}, (1, 1, 2, 4, 8, 16, 32, 64, 1, 1), (3,) * 10),
    ],
)
def test_the_context_module_is_that_of_the_paper(arguments, rates, widths):
    layers = convolutions(build_dilatednet(3, filters=2, **arguments), "context")
    assert tuple(layer.dilation_rate[0] for layer in layers) == rates
    assert tuple(layer.filters for layer in layers) == widths
    assert [layer.kernel_size[0] for layer in layers] == [3] * (len(rates) - 1) + [1]
    assert [layer.activation.__name__ for layer in layers] == ["relu"] * (len(rates) - 1) + ["linear"]


def test_the_front_end_dilates_where_pools_are_gone():
    model = build_dilatednet(2, (64, 72, 3), filters=2, context=None)
    assert [layer.dilation_rate[0] for layer in convolutions(model, "encoder")] == [1] * 10 + [2] * 3
    assert model.get_layer("head_fc6").dilation_rate == (4, 4)
    assert model.get_layer("head_fc7").output.shape[1:3] == (8, 9)


def context_module(model):
    first, last = convolutions(model, "context")[0], convolutions(model, "context")[-1]
    return keras.Model(first.input, last.output)


@pytest.mark.parametrize("variant", ["dilation8", "dilation10"])
def test_the_basic_module_starts_as_the_identity(variant):
    module = context_module(build_dilatednet(5, filters=2, variant=variant))
    scores = np.random.default_rng(0).uniform(0, 9, (1, 13, 11, 5)).astype("float32")
    np.testing.assert_allclose(module(scores), scores, rtol=1e-5)
    np.testing.assert_array_equal(module(-scores), np.zeros_like(scores))  # each ReLU cuts what is negative


def test_the_large_module_starts_near_the_identity():
    module = context_module(build_dilatednet(5, filters=2, context="large"))
    scores = np.random.default_rng(0).uniform(0, 9, (1, 13, 11, 5)).astype("float32")
    assert np.abs(module(scores) - scores).max() < 3
    for layer in module.layers[1:]:  # without its noise it is the identity
        kernel = np.asarray(layer.kernel)
        layer.kernel.assign(ContextIdentity(5)(kernel.shape))
    np.testing.assert_allclose(module(scores), scores, rtol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 3), (3, 6), (6, 12), (96, 96), (96, 3)])
def test_the_initialiser_is_the_equation(inputs, outputs):
    classes = 3
    expected = np.zeros((3, 3, inputs, outputs))
    for a in range(inputs):
        for b in range(outputs):
            if a * classes // inputs == b * classes // outputs:
                expected[1, 1, a, b] = classes / outputs
    np.testing.assert_allclose(ContextIdentity(classes)((3, 3, inputs, outputs)), expected, rtol=1e-6)
    noisy = np.asarray(ContextIdentity(classes, 0.01)((3, 3, inputs, outputs)))
    np.testing.assert_allclose(noisy[expected > 0], expected[expected > 0], rtol=1e-6)
    assert 0.005 < noisy[expected == 0].std() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "dilation9"}, "did you mean 'dilation8'"),
        ({"context": "bassic"}, "did you mean 'basic'"),
        ({"variant": "dilation10", "context": "large"}, "context='large' belongs to variant='dilation8'"),
        ({"filters": (4, 8)}, "filters must be a positive int or six"),
        ({"filters": 2, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_dilatednet(2, **arguments)
