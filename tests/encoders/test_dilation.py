"""The à-trous identity: at a finer output stride the coarse features are found between the new ones."""

import keras
import numpy as np
import pytest

from kseg import encoders

SIDE = (64, 96)
IMAGE = np.random.default_rng(0).normal(size=(1, *SIDE, 3)).astype("float32")


def unsettled(model):
    """Give norms and scales values that training might, so that a wrong pad or order shows."""
    rng = np.random.default_rng(1)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.2, size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0, 0.2, size))
        elif type(layer).__name__ == "LayerScale":  # near nothing when fresh
            layer.set_weights([rng.uniform(0.5, 1.5, layer.projection_dim)])
    return model


def application(function, **arguments):
    build = getattr(keras.applications, function)
    return build(include_top=False, weights=None, input_shape=(None, None, 3), **arguments)


def small_densenet():
    from keras.src.applications.densenet import DenseNet

    return DenseNet([1, 1, 2, 2], include_top=False, weights=None, input_shape=(None, None, 3))


def small_convnext():
    from keras.src.applications.convnext import ConvNeXt

    return ConvNeXt(
        [1, 1, 1, 1], [8, 12, 16, 24], include_preprocessing=False, include_top=False, weights=None,
        input_shape=(None, None, 3),
    )  # fmt: skip


def small_resnet(version):
    from keras.src.applications import resnet

    stack = getattr(resnet, f"stack_residual_blocks_v{version}")

    def stacks(x):
        for number, stride in enumerate((1, 2, 2, 2) if version == 1 else (2, 2, 2, 1), start=2):
            x = stack(x, 8 * number, 2, stride1=stride, name=f"conv{number}")
        return x

    return resnet.ResNet(
        stacks, version == 2, True, include_top=False, weights=None, input_shape=(None, None, 3)
    )


def keras_cv(kind, **arguments):
    import keras_cv

    return getattr(keras_cv.models, kind)(include_rescaling=False, **arguments)


CONVOLUTIONAL = {
    "resnet": lambda: small_resnet(1),
    "resnet_v2": lambda: small_resnet(2),
    "densenet": small_densenet,
    "convnext": small_convnext,
    "vgg16": lambda: application("VGG16"),
    "mobilenet": lambda: application("MobileNet", alpha=0.25),
    "mobilenet_v2": lambda: application("MobileNetV2", alpha=0.35),
    "csp_darknet": lambda: keras_cv(
        "CSPDarkNetBackbone", stackwise_channels=[8, 8, 8, 8], stackwise_depth=[1, 1, 1, 1]
    ),
    "resnet_of_keras_cv": lambda: keras_cv(
        "ResNetBackbone",
        stackwise_filters=[8] * 4,
        stackwise_blocks=[1] * 4,
        stackwise_strides=[1, 2, 2, 2],
    ),
}


def check_identity(backbone, output_strides=(8,)):
    image = keras.Input((None, None, 3))
    expected = keras.Model(image, encoders.stages(image, backbone))(IMAGE, training=False)
    for output_stride in output_strides:
        tensors = encoders.stages(image, backbone, output_stride=output_stride)
        found = keras.Model(image, tensors)(IMAGE, training=False)
        assert list(found) == list(expected)
        for stride, values in expected.items():
            every = max(1, stride // output_stride)
            size = tuple(side // min(stride, output_stride) for side in SIDE)
            assert found[stride].shape[1:3] == size
            np.testing.assert_allclose(
                found[stride][:, ::every, ::every], values, atol=1e-4 * float(np.abs(values).max())
            )


@pytest.mark.parametrize("name", CONVOLUTIONAL)
@pytest.mark.slow_after(4)
def test_dilation_leaves_the_features_as_they_were(name):
    both = (8, 16) if name in ("resnet", "densenet") else (8,)  # 8 dilates all that 16 does
    check_identity(unsettled(CONVOLUTIONAL[name]()), both)


def test_convolutions_of_one_pixel_stay_plain():
    """LiteRT cannot fold two dilated convolutions of the same input, as every residual block has them."""
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, encoders.pyramid(image, small_resnet(2), output_stride=8)[8])
    inside = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.dilation_rate for layer in inside if layer.kernel_size == (1, 1)} == {(1, 1)}
    assert {layer.dilation_rate for layer in inside if layer.kernel_size == (3, 3)} == {
        (1, 1),
        (2, 2),
        (4, 4),
    }


def test_xception_too():
    image = keras.Input((None, None, 3))
    whole = keras.Model(image, encoders.stages(image, "xception"))
    check_identity(unsettled(whole.get_layer("xception")))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kind", ["Conv2D", "MaxPooling2D", "AveragePooling2D", "SeparableConv2D"])
def test_every_kernel_and_padding(kernel, padding, kind):
    """Strided and plain layers in turn; VALID ones behind a pad, as in keras.applications."""
    make = getattr(keras.layers, kind)
    arguments = {"padding": padding} | (
        {"pool_size": kernel} if "Pool" in kind else {"filters": 4, "kernel_size": kernel}
    )
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(image)
    for stride in (2, 1, 2, 1):
        if padding == "valid":
            total = max(kernel - stride, 0)
            x = keras.layers.ZeroPadding2D(
                ((total // 2, total - total // 2), (total - total // 2, total // 2))
            )(x)
        x = make(**arguments, strides=stride)(x)
    check_identity(keras.Model(image, x))


def test_the_deepest_map_has_the_coarsest_stride_and_stages_keep_the_others():
    image = keras.Input((64, 96, 3))
    backbone = CONVOLUTIONAL["mobilenet_v2"]()
    pyramid = encoders.pyramid(image, backbone, output_stride=8)
    stages = encoders.stages(image, backbone, output_stride=8)
    assert list(pyramid) == [2, 4, 8]
    assert {stride: tuple(t.shape[1:3]) for stride, t in stages.items()} == {
        2: (32, 48), 4: (16, 24), 8: (8, 12), 16: (8, 12), 32: (8, 12)
    }  # fmt: skip
    assert pyramid[8].shape[-1] == stages[32].shape[-1] == 1280


def test_a_name_takes_an_output_stride_at_any_size_of_picture():
    image = keras.Input((None, None, 1))
    model = keras.Model(image, encoders.pyramid(image, "mobilenet_v3_small", output_stride=16))
    for height, width in ((1, 1), (33, 47)):
        found = model(np.zeros((1, height, width, 1), "float32"))
        padded = (-(-height // 16) * 16, -(-width // 16) * 16)
        assert all(t.shape[1:3] == (padded[0] // s, padded[1] // s) for s, t in found.items())


def test_batch_norms_inside_composite_layers_still_train():
    backbone = CONVOLUTIONAL["csp_darknet"]()
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, encoders.pyramid(image, backbone, output_stride=16)[16])
    before = [np.asarray(w) for w in model.non_trainable_weights]
    model(np.ones((1, 32, 32, 3), "float32"), training=True)
    assert all(np.abs(b - w).max() > 0 for b, w in zip(before, model.non_trainable_weights, strict=True))
    assert len(model.trainable_weights) == len(backbone.trainable_weights)


def test_a_dilated_model_comes_back_from_its_file(tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, encoders.pyramid(image, CONVOLUTIONAL["densenet"](), output_stride=8)[8])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(IMAGE, training=False), model(IMAGE, training=False))


def test_statistics_of_a_normalization_are_copied():
    image = keras.Input((None, None, 3))
    scale = keras.layers.Normalization()
    scale.adapt(IMAGE * 9 + 2)
    x = keras.layers.Conv2D(4, 3, strides=8, padding="same")(scale(image))
    check_identity(keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)))


class _Blur(keras.layers.Layer):
    def call(self, x):
        return keras.ops.average_pool(x, 3, 1, "same")


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2DTranspose(4, 3, padding="same", name="strange_layer"),
        keras.layers.UpSampling2D(name="strange_layer"),
        _Blur(name="strange_layer"),
        keras.layers.Conv2D(4, 3, padding="same", strides=(1, 2), name="strange_layer"),
    ],
)
def test_a_layer_that_cannot_be_dilated_is_named(layer):
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=16, padding="same")(image)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(x)
    model = keras.Model(image, layer(x), name="mine")
    assert list(encoders.pyramid(image, model))[-1] >= 16
    with pytest.raises(ValueError, match=r"'mine' cannot have output_stride=16.*'strange_layer'"):
        encoders.pyramid(image, model, output_stride=16)


class _Unbuildable(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__(name="strange_layer")
        self.factor = factor

    def call(self, x):
        return x * self.factor


def test_a_layer_that_cannot_be_copied_is_named():
    image = keras.Input((None, None, 3))
    x = _Unbuildable(2)(keras.layers.Conv2D(4, 3, strides=8, padding="same")(image))
    model = keras.Model(image, keras.layers.Conv2D(4, 3, strides=2, padding="same")(x))
    with pytest.raises(ValueError, match=r"'strange_layer' .* cannot be copied for this output_stride"):
        encoders.pyramid(image, model, output_stride=8)
