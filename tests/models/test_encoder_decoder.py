import keras
import pytest

from kseg import build_encoder_decoder


def test_has_no_skips():
    model = build_encoder_decoder(2, filters=2)
    assert not any("concat" in layer.name for layer in model.layers)


@pytest.mark.parametrize(("downsampling", "pools", "strided"), [("pool", 4, 0), ("stride", 0, 4)])
def test_the_way_down_pools_or_strides(downsampling, pools, strided):
    model = build_encoder_decoder(2, (64, 80, 3), filters=2, downsampling=downsampling)
    convolutions = [x for x in model.layers if type(x) is keras.layers.Conv2D and x.strides == (2, 2)]
    assert sum(isinstance(x, keras.layers.MaxPooling2D) for x in model.layers) == pools
    assert len(convolutions) == strided
    assert model.get_layer("encoder_level5_conv2_relu").output.shape == (None, 4, 5, 32)


def test_an_unknown_way_down_is_named():
    with pytest.raises(ValueError, match="unknown downsampling 'strided'; did you mean 'stride'"):
        build_encoder_decoder(2, filters=2, downsampling="strided")
