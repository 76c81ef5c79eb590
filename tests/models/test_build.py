import inspect

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


WRONG = [  # argument, value, message; for the builders that take the argument
    ("activation", "softmx", "unknown activation 'softmx'; did you mean 'softmax'"),
    ("dropout", 1.0, r"dropout must be a number in \[0, 1\), got 1.0"),
    ("dropout", -0.1, r"dropout must be a number in \[0, 1\), got -0.1"),
    ("dropout", "a", r"dropout must be a number in \[0, 1\), got 'a'"),
    ("filters", 0, "filters .*must be"),
    ("filters", 2.5, "filters .*must be"),
    ("filters", True, "filters .*must be"),
    ("normalization", "bach", "unknown normalization 'bach'; did you mean 'batch'"),
    ("output_stride", 4, r"output_stride must be one of \(8, 16, 32"),
    ("upsampling", "bilnear", "unknown upsampling 'bilnear'; did you mean 'bilinear'"),
    ("variant", "vg16", "unknown variant 'vg16'"),
    ("backbone", "resnet5O", "unknown backbone 'resnet5O'; did you mean 'resnet50'"),
]


@pytest.mark.parametrize(("argument", "value", "message"), WRONG)
@pytest.mark.parametrize("builder", BUILDERS)
def test_a_wrong_argument_is_named(builder, argument, value, message):
    taken = inspect.signature(builder).parameters
    arguments = {"filters": 6} if "filters" in taken and argument != "backbone" else {}
    if argument in taken:
        with pytest.raises(ValueError, match=message):
            builder(2, (64, 64, 3), **{**arguments, argument: value})


@pytest.mark.parametrize("builder", BUILDERS)
def test_softmax_over_one_class_is_refused(builder):
    arguments = {"filters": 6} if "filters" in inspect.signature(builder).parameters else {}
    with pytest.raises(ValueError, match="softmax over num_classes=1 is always 1"):
        builder(1, (64, 64, 3), activation="softmax", **arguments)
