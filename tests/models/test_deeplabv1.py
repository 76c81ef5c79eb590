import keras
import pytest

from kseg import build_deeplabv1


@pytest.mark.parametrize(
    ("variant", "kernel", "rate", "width"), [("largefov", 3, 12, 64), ("4x4", 4, 8, 256), ("7x7", 7, 4, 256)]
)
def test_fc6_is_that_of_the_variant(variant, kernel, rate, width):
    fc6 = build_deeplabv1(2, variant=variant, filters=4).get_layer("head_fc6")
    assert (fc6.kernel_size, fc6.dilation_rate, fc6.filters) == ((kernel,) * 2, (rate,) * 2, width)


def test_scores_are_at_stride_8():
    model = build_deeplabv1(2, (65, 80, 3), filters=4)
    assert model.get_layer("logits").output.shape[1:3] == (9, 10)
    names = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert names == ["head_fc6_dropout", "head_fc7_dropout"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "largefof"}, "did you mean 'largefov'"),
        ({"filters": (4, 8)}, "filters must be a positive int or six"),
        ({"filters": 2, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_deeplabv1(2, **arguments)
