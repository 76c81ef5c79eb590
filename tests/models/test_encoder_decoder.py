import numpy as np
import pytest

from kseg import build_encoder_decoder


@pytest.mark.parametrize(
    ("arguments", "trainable"),
    [
        ({"normalization": None}, 27_898_955),
        ({}, 27_904_843),
        ({"normalization": None, "upsampling": "bilinear"}, 28_246_155),
    ],
)
def test_parameters(arguments, trainable):
    model = build_encoder_decoder(11, **arguments)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == trainable


def test_has_no_skips():
    model = build_encoder_decoder(2, filters=2)
    assert not any("concat" in layer.name for layer in model.layers)
