import keras
import numpy as np
import pytest

from kseg import build_deeplabv2


@pytest.mark.parametrize(
    ("arguments", "rates"),
    [
        ({}, (6, 12, 18, 24)),
        ({"variant": "vgg16-aspp-s"}, (2, 4, 8, 12)),
        ({"variant": "resnet101"}, (6, 12, 18, 24)),
        ({"dilation_rates": (3, 5)}, (3, 5)),
        ({"dilation_rates": (12,)}, (12,)),
    ],
)
def test_scores_are_the_sum_of_the_branches(arguments, rates):
    model = build_deeplabv2(3, (49, 65, 3), filters=1, **arguments)
    paper = arguments.get("variant") == "resnet101"
    names = [f"logits_rate{rate}" if paper else f"branch_rate{rate}_fc8" for rate in rates]
    dilated = [name if paper else name.replace("fc8", "fc6") for name in names]
    assert [model.get_layer(name).dilation_rate[0] for name in dilated] == list(rates)
    scores = [model.get_layer(name).output for name in names]
    final = model.get_layer("logits_resize").input
    assert final.shape[1:] == (7, 9, 3)
    image = np.random.default_rng(0).uniform(0, 255, (1, 49, 65, 3)).astype("float32")
    *branches, total = keras.Model(model.input, [*scores, final])(image, training=False)
    np.testing.assert_allclose(total, sum(np.asarray(branch) for branch in branches), atol=1e-5)


def test_resnet101_is_dilated_without_multi_grid():
    model = build_deeplabv2(2, (65, 65, 3), variant="resnet101", filters=1)
    rates = [model.get_layer(f"encoder_stage{n}_unit2_conv2").dilation_rate[0] for n in (3, 4, 5)]
    assert rates == [1, 2, 4]
    assert model(np.zeros((1, 65, 65, 3))).shape == (1, 65, 65, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "vgg16"}, "unknown variant 'vgg16'; did you mean 'vgg16-aspp-[ls]'"),
        ({"dilation_rates": 6}, "dilation_rates must be different positive ints"),
        ({"filters": 0}, "filters must be a positive int"),
        ({"filters": 1, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_deeplabv2(2, **arguments)
