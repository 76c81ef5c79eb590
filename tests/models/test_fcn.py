import keras
import numpy as np
import pytest

import kseg
from kseg import build_fcn


def test_the_default_is_fcn_8s_on_vgg16(count):
    assert count(build_fcn, 21) == (134_362_751, 134_362_751)


def test_a_backbone_is_scored_at_each_stride():
    model = build_fcn(5, backbone="mobilenet_v2", output_stride=16)
    heads = [model.get_layer(f"scores_stride{stride}").kernel.shape for stride in (16, 32)]
    assert heads == [(1, 1, 576, 5), (1, 1, 1280, 5)]
    assert "scores_stride8" not in [layer.name for layer in model.layers]


def scored(model, seed=0):
    """Give the score layers values: they start at zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.name.startswith("scores"):
            layer.set_weights([0.1 * rng.standard_normal(w.shape) for w in layer.get_weights()])
    return model


def test_scores_start_at_zero_and_learn():
    model = build_fcn(3, (32, 32, 3), filters=2, dropout=0.0)
    image = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    assert not np.any(model(image))
    kseg.compile(model, steps=20)
    masks = np.arange(4, dtype="int32")[:, None, None] % 3 + np.zeros((4, 32, 32), "int32")
    history = model.fit(image, masks, epochs=20, batch_size=4, verbose=0)
    assert history.history["loss"][-1] < 0.95 * history.history["loss"][0]


def test_finer_strides_add_to_the_coarse_scores():
    """The scores of FCN-8s are those of its three strides, each resized, and summed."""
    model = scored(build_fcn(3, (64, 96, 3), filters=2))
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")
    heads = [model.get_layer(f"scores_stride{stride}").output for stride in (8, 16, 32)]
    fine, middle, coarse = (np.asarray(x) for x in keras.Model(model.input, heads)(image))
    resize = keras.layers.UpSampling2D(2, interpolation="bilinear")
    total = resize(np.asarray(resize(coarse)) + middle) + fine
    expected = keras.layers.UpSampling2D(8, interpolation="bilinear")(total)
    np.testing.assert_allclose(model(image), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_the_resize_is_the_frozen_transposed_convolution_inside(factor):
    """Each score spreads by the bilinear kernel of size 2f, cut by f/2: what the reference computes."""
    scores = np.random.default_rng(0).standard_normal((5, 6))
    kernel = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor

    def spread(count):
        matrix = np.zeros(((count + 1) * factor, count))
        for cell in range(count):
            matrix[cell * factor : (cell + 2) * factor, cell] = kernel
        return matrix[factor // 2 : -(factor // 2)]

    expected = spread(5) @ scores @ spread(6).T
    ours = kseg.layers.Upsample(factor)(scores[None, ..., None].astype("float32"))[0, ..., 0]
    inside = (slice(factor // 2, -(factor // 2)),) * 2
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize(("variant", "border"), [("vgg16", 16), ("alexnet", None)])
def test_deconvolutions_start_as_bilinear_interpolation(variant, border):
    """AlexNet's 63 pixels have a centre, so its scores lie half a pixel off; the kernel is checked alone."""
    arguments = {"variant": variant, "filters": 6, "dropout": 0.0}
    fixed = scored(build_fcn(3, (96, 128, 3), **arguments))
    learnt = build_fcn(3, (96, 128, 3), upsampling="transpose", **arguments)
    for layer in fixed.layers:
        learnt.get_layer(layer.name).set_weights(layer.get_weights()) if layer.weights else None
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype("float32")
    got, expected = np.asarray(learnt(image)), np.asarray(fixed(image))
    if border:
        inside = (slice(None), slice(2 * border, -2 * border), slice(2 * border, -2 * border))
        np.testing.assert_allclose(got[inside], expected[inside], atol=1e-4 * np.ptp(expected))
    kernel = learnt.get_layer("logits_upconv").get_weights()[0]
    stride = 8 if variant == "vgg16" else 32
    distance = np.abs(np.arange(len(kernel)) - (len(kernel) - 1) / 2)
    triangle = 1 - distance / stride
    np.testing.assert_allclose(kernel[:, :, 1, 1], np.outer(triangle, triangle), atol=1e-6)
    assert not kernel[:, :, 0, 1].any()
    assert learnt.get_layer("logits_upconv").trainable_weights


@pytest.mark.parametrize(
    ("num_classes", "with_kernels"),
    [(11, 134_317_249), (12, 134_322_404), (19, 134_358_489), (21, 134_368_799)],
)
def test_resizes_stand_for_the_frozen_kernels_of_the_reference(count, num_classes, with_kernels):
    """One bilinear kernel per class, twice as wide as the factor, counted beside the weights."""
    learn, _ = count(build_fcn, num_classes)
    small = build_fcn(num_classes, filters=2)
    factors = [layer.factor for layer in small.layers if isinstance(layer, kseg.layers.Upsample)]
    assert sorted(factors) == [2, 2, 8]
    assert learn + num_classes * sum((2 * factor) ** 2 for factor in factors) == with_kernels


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_a_resnet_is_dilated_and_scored_once(output_stride):
    model = build_fcn(
        2, (65, 97, 3), variant="resnet50", filters=2, output_stride=output_stride, aux_heads=True
    )
    size = (64 // output_stride + 1, 96 // output_stride + 1)
    assert model.get_layer(f"scores_stride{output_stride}").output.shape[1:] == (*size, 2)
    assert model.get_layer("auxiliary_conv").input is model.get_layer("encoder_stage4_unit6_relu").output
    assert model(np.zeros((1, 65, 97, 3)), training=True).shape == (1, 65, 97, 2, 2)
    assert model(np.zeros((1, 65, 97, 3))).shape == (1, 65, 97, 2)


@pytest.mark.parametrize("variant", ["vgg16", "alexnet"])
def test_scores_lie_over_what_they_score(variant):
    """Weights of one sign and a bright square: the answer is brightest where the square is."""
    model = build_fcn(1, (256, 256, 3), variant=variant, output_stride=32, filters=6, dropout=0.0)
    model.set_weights([np.abs(w) + (w.ndim == 4) * 1e-3 for w in scored(model).get_weights()])
    dark = np.full((1, 256, 256, 3), 130, "float32")
    bright = dark.copy()
    bright[:, 128:160, 96:128] = 255
    change = np.asarray(model(bright) - model(dark))[0, ..., 0]
    rows, columns = np.indices(change.shape)
    centre = [(axis * change).sum() / change.sum() for axis in (rows, columns)]
    np.testing.assert_allclose(centre, [143.5, 111.5], atol=9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "vgg19"}, "did you mean 'vgg16'"),
        ({"output_stride": 4}, "output_stride must be one of"),
        ({"variant": "alexnet", "output_stride": 8}, "variant='alexnet' is FCN-32s"),
        ({"variant": "alexnet", "filters": 8}, "multiple of 6"),
        ({"filters": (8, 8)}, "filters must be a positive int or six"),
        ({"upsampling": "nearest"}, "unknown upsampling 'nearest'"),
        ({"aux_heads": True}, "aux_heads needs variant='resnet50'"),
        ({"variant": "resnet50", "backbone_weights": "imagenet"}, "has no pretrained weights"),
        ({"backbone": "mobilenet_v2", "filters": 8}, "a backbone has its own"),
        ({"backbone": "mobilenet_v3"}, "unknown backbone"),
        ({"filters": 2, "activation": "softmx"}, "did you mean 'softmax'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_fcn(2, **arguments)
