import keras
import numpy as np
import pytest

import kseg
from kseg import backbones

IMAGE = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3)).astype("float32")


def features(backbone, channels=3, **arguments):
    image = keras.Input((None, None, channels))
    return keras.Model(image, backbones.pyramid(image, backbone, **arguments))


@pytest.mark.parametrize("name", kseg.list_backbones())
def test_every_backbone_has_all_strides(name):
    image = keras.Input((64, 96, 3))
    pyramid = backbones.pyramid(image, name)
    assert list(pyramid) == [2, 4, 8, 16, 32]
    for stride, tensor in pyramid.items():
        assert tuple(tensor.shape[1:3]) == (64 // stride, 96 // stride)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "efficientnet_v2_b0", "csp_darknet_tiny"])
@pytest.mark.parametrize("channels", [1, 4])
def test_any_number_of_channels(name, channels):
    outputs = features(name, channels)(np.zeros((1, 37, 33, channels), "float32"))
    assert {stride: tensor.shape[1:3] for stride, tensor in outputs.items()} == {
        stride: (64 // stride, 64 // stride) for stride in (2, 4, 8, 16, 32)
    }


def reference(name):
    """keras.applications' own model and preprocessing, random weights."""
    applications = keras.applications
    return {
        "mobilenet_v2": (applications.MobileNetV2, applications.mobilenet_v2.preprocess_input),
        "resnet50": (applications.ResNet50, applications.resnet50.preprocess_input),
        "vgg16": (applications.VGG16, applications.vgg16.preprocess_input),
        "efficientnet_v2_b0": (applications.EfficientNetV2B0, lambda x: x),  # preprocessing is in the model
        "mobilenet_v3_small": (applications.MobileNetV3Small, lambda x: x),
    }[name]


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "resnet50", "vgg16", "efficientnet_v2_b0", "mobilenet_v3_small"]
)
def test_raw_pixels_give_what_keras_applications_gives_after_its_preprocessing(name, tmp_path):
    build, preprocess = reference(name)
    original = build(include_top=False, weights=None, input_shape=(None, None, 3))
    weights = tmp_path / "encoder.weights.h5"
    # the model inside has no rescaling layer: layers with weights are the same
    ours_inside, _ = backbones._named(name, 3, None)
    ours_inside.set_weights([w for w in original.get_weights() if w.shape != () and w.shape != (3,)])
    expects_bgr = name in ("resnet50", "vgg16")
    if expects_bgr:
        backbones._swap_red_and_blue(ours_inside)
    ours_inside.save_weights(weights)
    expected = original(preprocess(IMAGE.copy()), training=False)
    got = features(name, weights=str(weights))(IMAGE, training=False)[32]
    np.testing.assert_allclose(got, expected, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize(("pretrained", "momentum"), [(False, 0.9), (True, 0.99)])
def test_batch_norms_settle_in_a_short_training(pretrained, momentum, tmp_path):
    path = None
    if pretrained:
        path = tmp_path / "encoder.weights.h5"
        backbones._named("mobilenet_v2", 3, None)[0].save_weights(path)
    model, _ = backbones._named("mobilenet_v2", 3, path)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {momentum}  # Keras' own is 0.999


def test_a_functional_model_is_a_backbone():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same")(image)
    last = keras.layers.Conv2D(6, 3, strides=2, padding="same")(x)
    model = kseg.build_unet(3, backbone=keras.Model(image, last, name="mine"), decoder_filters=(8, 4))
    assert model.get_layer("mine").get_layer(index=1).filters == 4
    assert model(IMAGE).shape == (1, 64, 96, 3)


def test_a_keras_cv_backbone_object():
    import keras_cv

    backbone = keras_cv.models.ResNetBackbone(
        stackwise_filters=[8, 16, 24, 32],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=True,
    )
    assert list(features(backbone)(IMAGE)) == [2, 4, 8, 16, 32]


def test_weights_from_a_file_come_back(tmp_path):
    first = features("mobilenet_v2")
    path = tmp_path / "encoder.weights.h5"
    backbones._named("mobilenet_v2", 3, None)[0].save_weights(path)
    second, third = (features("mobilenet_v2", weights=path)(IMAGE)[32] for _ in range(2))
    np.testing.assert_array_equal(second, third)
    assert np.abs(first(IMAGE)[32] - second).max() > 0


@pytest.mark.parametrize(
    ("backbone", "arguments", "error", "message"),
    [
        ("resnet5O", {}, ValueError, r"unknown backbone 'resnet5O'; did you mean 'resnet50'\?"),
        (keras.layers.Dense(2), {}, TypeError, "functional keras.Model, got Dense"),
        ("mobilenet_v2", {"weights": "imagnet"}, ValueError, "backbone_weights='imagnet' cannot be loaded"),
        ("mobilenet_v2", {"weights": "imagenet", "channels": 1}, ValueError, "needs 3 channels"),
        ("csp_darknet_s", {"weights": "imagenet"}, ValueError, "has no 'imagenet' weights"),
    ],
)
def test_wrong_arguments_are_named(backbone, arguments, error, message):
    with pytest.raises(error, match=message):
        features(backbone, **arguments)


def test_weights_of_another_backbone_are_refused(tmp_path):
    path = tmp_path / "other.weights.h5"
    backbones._named("mobilenet_v3_small", 3, None)[0].save_weights(path)
    with pytest.raises(ValueError, match=r"other\.weights\.h5.* cannot be loaded into"):
        features("mobilenet_v2", weights=path)
