import keras
import numpy as np
import pytest
from contract import tiny_backbone

import kseg
from kseg import build_unet


def test_parameters_of_the_paper_on_grey_pictures():
    assert build_unet(2, (None, None, 1), normalization=None).count_params() == 31_030_658


def test_parameters_on_mobilenet_v2_are_those_of_segmentation_models():
    assert build_unet(1, backbone="mobilenet_v2").count_params() == 8_047_441


def test_one_argument_sets_all_widths():
    model = build_unet(2, filters=8)
    widths = [model.get_layer(f"encoder_level{level}_conv2").filters for level in range(1, 6)]
    assert widths == [8, 16, 32, 64, 128]


def test_widths_may_be_given_one_by_one():
    model = build_unet(2, filters=(4, 6, 10))
    assert model(np.zeros((1, 13, 9, 3))).shape == (1, 13, 9, 2)


def test_dropout_acts_on_the_two_deepest_levels():
    names = [layer.name for layer in build_unet(2, filters=2, dropout=0.5).layers if "dropout" in layer.name]
    assert names == ["encoder_level4_dropout", "encoder_level5_dropout"]


def test_a_skip_carries_the_finest_detail():
    """With every path through the bottleneck cut, one pixel still reaches its own output."""
    keras.utils.set_random_seed(0)
    model = build_unet(2, (32, 32, 1), filters=8, normalization=None)
    model.get_layer("decoder_level1_upconv").set_weights(
        [np.zeros_like(w) for w in model.get_layer("decoder_level1_upconv").get_weights()]
    )
    dark, point = np.zeros((2, 1, 32, 32, 1), "float32")
    point[0, 16, 16] = 255
    change = np.abs(model(point) - model(dark)).max(-1)[0]
    assert change.max() > 0
    rows, columns = np.nonzero(change)
    assert rows.min() >= 12 and rows.max() <= 20 and columns.min() >= 12 and columns.max() <= 20


def test_without_padding_it_is_the_figure_of_the_paper():
    model = build_unet(2, (572, 572, 1), filters=2, normalization=None, padding="valid")
    assert model.output_shape == (None, 388, 388, 2)
    encoder = [model.get_layer(f"encoder_level{level}_conv2").output.shape[1] for level in range(1, 6)]
    decoder = [model.get_layer(f"decoder_level{level}_conv2").output.shape[1] for level in range(4, 0, -1)]
    assert (encoder, decoder) == ([568, 280, 136, 64, 28], [52, 100, 196, 388])


def test_without_padding_the_parameters_are_those_of_the_paper(count):
    got = count(build_unet, 2, (None, None, 1), normalization=None, padding="valid")
    assert got == (31_030_658, 31_030_658)


def test_without_padding_scores_are_those_of_the_padded_network_far_from_its_border():
    """Cut by 14 pixels, the padded network pools the same windows; output 0 lies at pixel 92."""
    same = build_unet(2, (None, None, 1), filters=2, normalization=None)
    valid = build_unet(2, (None, None, 1), filters=2, normalization=None, padding="valid")
    valid.set_weights(same.get_weights())
    image = np.random.default_rng(0).integers(0, 256, (1, 252, 236, 1)).astype("float32")
    expected = np.asarray(same(image[:, 14:, 14:]))[:, 108:-108, 108:-108]
    scores = np.asarray(valid(image))
    assert scores.shape == (1, 68, 52, 2)
    np.testing.assert_allclose(scores[:, 30:-16, 30:-16], expected, atol=1e-5)


@pytest.mark.parametrize("size", [188, 204, 572])
def test_valid_sizes_give_184_less(size):
    assert build_unet(2, (size, None, 3), filters=2, padding="valid").output_shape[1] == size - 184


@pytest.mark.parametrize("size", [190, 572 + 8, 573])
def test_open_sizes_are_checked_when_a_picture_comes(size):
    model = build_unet(2, filters=2, padding="valid")
    with pytest.raises(ValueError, match="about its centre"):
        model(np.zeros((1, size, 188, 3), "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "mobilenet_v2", "decoder_filters": (8, 8)}, "decoder_filters needs 5 widths"),
        ({"backbone_weights": "imagenet"}, "backbone_weights needs a named backbone"),
        ({"filters": 0}, "filters must be a positive int"),
        ({"upsampling": "bilinaer"}, "did you mean 'bilinear'"),
        ({"padding": "valit"}, "did you mean 'valid'"),
        ({"padding": "valid", "backbone": "mobilenet_v2"}, "padding='valid' is the paper's own U-Net"),
        ({"padding": "valid", "input_shape": (256, 572, 3)}, "size is 252 or 268 pixels"),
        ({"padding": "valid", "input_shape": (64, 572, 3)}, "size is 188 pixels"),
        ({"normalization": "bach"}, "did you mean 'batch'"),
        ({"filters": 2, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_unet(2, **arguments)


def test_the_decoder_on_a_backbone_stays_in_xnnpack_as_a_file(tmp_path):
    keras.utils.set_random_seed(0)
    model = kseg.build_unet(2, backbone=tiny_backbone(3), decoder_filters=(8, 8, 6, 6, 4))
    report = kseg.export_tflite(model, tmp_path / "unet.tflite", input_size=(64, 96))
    assert report.not_on_xnnpack == {} and report.operators["DEPTH_TO_SPACE"] > 0
