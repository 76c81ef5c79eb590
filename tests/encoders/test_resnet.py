import keras
import numpy as np
import pytest

from kseg.encoders import resnet


def encoder(size=(None, None), channels=3, **arguments):
    image = keras.Input((*size, channels), name="image")
    return keras.Model(image, resnet.resnet_stages(image, **arguments))


@pytest.mark.parametrize(
    ("depth", "stem", "count", "statistics"),
    [(50, "7x7", 23_508_032, 53_120), (50, "deep", 23_631_808, 53_504), (101, "7x7", 42_500_160, 105_344)],
)
@pytest.mark.slow_after(1)
def test_parameters(depth, stem, count, statistics):
    model = encoder(depth=depth, stem=stem)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == count
    assert model.count_params() == count + statistics


@pytest.mark.parametrize(
    ("output_stride", "strides"), [(32, (2, 4, 8, 16, 32)), (16, (2, 4, 8, 16, 16)), (8, (2, 4, 8, 8, 8))]
)
def test_sizes_halve_rounding_up(output_stride, strides):
    image = keras.Input((37, 64, 3))
    stages = resnet.resnet_stages(image, output_stride=output_stride, filters=2)
    expected = [(-(-37 // stride), 64 // stride) for stride in strides]
    assert [tensor.shape[1:3] for tensor in stages.values()] == expected
    assert list(stages) == [2, 4, 8, 16, 32]


def test_open_sizes_halve_rounding_up():
    features = encoder(output_stride=16, filters=2)(np.zeros((1, 37, 1, 3), "float32"))
    assert [tuple(tensor.shape[1:3]) for tensor in features.values()] == [
        (19, 1),
        (10, 1),
        (5, 1),
        (3, 1),
        (3, 1),
    ]


def test_a_stride_names_the_deepest_features():
    features = resnet.resnet(keras.Input((64, 64, 3)), output_stride=8, filters=2)
    assert {stride: tensor.shape[1:] for stride, tensor in features.items()} == {
        2: (32, 32, 2),
        4: (16, 16, 8),
        8: (8, 8, 64),
    }


@pytest.mark.parametrize(
    ("output_stride", "multi_grid", "stage4", "stage5"),
    [
        (32, (1, 1, 1), 1, [1, 1, 1]),
        (32, (1, 2, 4), 1, [1, 2, 4]),
        (16, (1, 2, 4), 1, [2, 4, 8]),
        (8, (1, 1, 1), 2, [4, 4, 4]),
        (8, (1, 2, 4), 2, [4, 8, 16]),
    ],
)
def test_lost_strides_become_dilation(output_stride, multi_grid, stage4, stage5):
    model = encoder(output_stride=output_stride, multi_grid=multi_grid, filters=1)

    def rates(stage, units):
        names = [f"encoder_stage{stage}_unit{unit + 1}_conv2" for unit in range(units)]
        return [model.get_layer(name).dilation_rate[0] for name in names]

    assert rates(4, 6) == [stage4] * 6
    assert rates(5, 3) == stage5
    assert rates(3, 4) == [1] * 4


def test_without_the_stride_the_features_lie_in_between():
    """What comes before the first dilated 3×3 holds the strided features at every second place."""
    strided, dilated = (encoder(output_stride=stride, filters=2) for stride in (32, 16))
    dilated.set_weights(strided.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 81, 97, 3)).astype("float32")
    part = "encoder_stage5_unit1_shortcut_norm"
    sparse, dense = (keras.Model(m.input, m.get_layer(part).output)(image) for m in (strided, dilated))
    assert sparse.shape == (1, 3, 4, 64) and dense.shape == (1, 6, 7, 64)
    np.testing.assert_allclose(sparse, np.asarray(dense)[:, ::2, ::2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stem", ["7x7", "deep"])
@pytest.mark.parametrize("size", [16, 17])
def test_strides_pad_alike_on_all_sides(stem, size):
    """Keras' SAME would pad an even size at the bottom and the right alone."""
    model = encoder((size, size), 1, stem=stem, filters=2)
    kernel = 7 if stem == "7x7" else 3
    stem_layers = [layer for layer in model.layers if layer.name.startswith("encoder_stem")]
    pad, conv = stem_layers[:2]
    assert pad.padding == ((kernel // 2,) * 2,) * 2
    assert conv.padding == "valid" and conv.strides == (2, 2)
    image = np.random.default_rng(0).uniform(0, 1, (1, size, size, 1)).astype("float32")
    got = conv(pad(image))
    padded = np.pad(image[0, ..., 0], kernel // 2)
    weights = np.asarray(conv.kernel)[..., 0, 0]
    expected = [
        [
            (padded[2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel] * weights).sum()
            for j in range((size + 1) // 2)
        ]
        for i in range((size + 1) // 2)
    ]
    np.testing.assert_allclose(got[0, ..., 0], expected, atol=1e-5)


def test_the_stride_stands_at_the_3x3():
    model = encoder(filters=1)
    for stage in (3, 4, 5):
        unit = f"encoder_stage{stage}_unit1"
        strides = [
            model.get_layer(f"{unit}_{part}").strides[0] for part in ("conv1", "conv2", "conv3", "shortcut")
        ]
        assert strides == [1, 2, 1, 2]
    assert model.get_layer("encoder_stage2_unit1_conv2").strides == (1, 1)


def test_pixels_are_normalised_by_the_statistics_of_imagenet():
    model = encoder((8, 8), filters=1)
    pixel = np.full((1, 8, 8, 3), (0, 128, 255), "float32")
    got = model.get_layer("normalization")(pixel)[0, 0, 0]
    expected = (np.array([0, 128, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 18}, r"depth must be one of \(50, 101\), got 18"),
        ({"output_stride": 4}, r"output_stride must be one of \(8, 16, 32\), got 4"),
        ({"multi_grid": (1, 2)}, "multi_grid needs three positive ints"),
        ({"multi_grid": 4}, "multi_grid needs three positive ints"),
        ({"multi_grid": (2, 2, 2)}, "multi_grid must start with 1 at output_stride=32"),
        ({"stem": "7×7"}, "did you mean '7x7'"),
        ({"filters": 0}, "filters must be a positive int"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        encoder(**arguments)
