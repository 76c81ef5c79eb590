import numpy as np
import pytest

from kseg import build_conv_stack


@pytest.mark.parametrize(("rates", "seen"), [((1, 1, 1), 7), ((1, 2, 4), 15)])
def test_receptive_field(rates, seen):
    model = build_conv_stack(2, (41, 41, 1), depth=3, filters=4, dilation_rates=rates, normalization=None)
    model.set_weights([np.abs(w) for w in model.get_weights()])  # nothing cancels
    point = np.full((1, 41, 41, 1), 128, "float32")
    point[0, 20, 20] = 255
    change = np.abs(model(point) - model(np.full_like(point, 128)))[0, ..., 0] > 1e-6
    assert (change.any(0).sum(), change.any(1).sum()) == (seen, seen)


def test_dilation_keeps_the_parameters():
    plain, dilated = (build_conv_stack(3, depth=3, dilation_rates=rates) for rates in (None, (1, 2, 4)))
    assert plain.count_params() == dilated.count_params()


def test_one_rate_per_convolution():
    with pytest.raises(ValueError, match="dilation_rates needs one rate"):
        build_conv_stack(2, depth=3, dilation_rates=(1, 2))
