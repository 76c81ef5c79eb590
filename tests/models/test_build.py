import pytest

import kseg

BUILDERS = [getattr(kseg, f"build_{name}") for name in kseg.list_models()]


def test_build_by_name_is_the_builder():
    by_name = kseg.build("unet", 5, (32, 32, 3), filters=4)
    assert by_name.count_params() == kseg.build_unet(5, (32, 32, 3), filters=4).count_params()


def test_unknown_model_offers_the_nearest():
    with pytest.raises(ValueError, match=r"unknown model 'unett'; did you mean 'unet'\?"):
        kseg.build("unett", 2)


def test_unknown_argument_is_named():
    with pytest.raises(TypeError, match="'unet' takes no argument 'filter'; it takes num_classes"):
        kseg.build("unet", 2, filter=4)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("num_classes", [0, -1, 256, 2.5, "3", None, True])
def test_num_classes_must_be_a_count(builder, num_classes):
    with pytest.raises(ValueError, match=r"num_classes must be an int in 1\.\.255"):
        builder(num_classes)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 64, 64), r"channels first\? Move them last: \(64, 64, 3\)"),
        ((3, None, None), "channels first"),
        ((64, 64), r"must be \(H, W, C\)"),
        ((None, 64, 64, 3), r"must be \(H, W, C\)"),
        ((64, 64, None), "needs its number of channels"),
        ((0, 64, 3), r"must be \(H, W, C\)"),
        (64, r"must be \(H, W, C\)"),
    ],
)
def test_input_shape_must_be_height_width_channels(builder, shape, message):
    with pytest.raises(ValueError, match=message):
        builder(2, shape)
