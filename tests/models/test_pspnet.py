import keras
import numpy as np
import pytest

import kseg
from kseg import build_pspnet


def test_pools_into_bins_of_an_eighth():
    model = build_pspnet(2, (473, 361, 3), filters=4)
    features = model.get_layer("encoder_stage5_unit3_relu").output
    assert features.shape[1:] == (60, 46, 128)
    for bins in (1, 2, 3, 6):
        assert model.get_layer(f"pyramid_bin{bins}_pool").output.shape[1:] == (bins, bins, 128)
        assert model.get_layer(f"pyramid_bin{bins}_conv").output.shape[-1] == 32
    assert model.get_layer("pyramid_concat").output.shape[1:] == (60, 46, 256)
    rates = [model.get_layer(f"encoder_stage{n}_unit1_conv2").dilation_rate[0] for n in (3, 4, 5)]
    assert rates == [1, 2, 4]


@pytest.mark.parametrize("size", [(1, 9), (147, 61)])
def test_maps_that_no_bin_divides(size):
    options = {"backbone": tiny_backbone(), "output_stride": 32, "filters": 2}
    flexible, static = build_pspnet(3, **options), build_pspnet(3, (*size, 3), **options)
    static.set_weights(flexible.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype("float32")
    scores = flexible(image, training=False)
    assert scores.shape == (1, *size, 3)
    np.testing.assert_allclose(static(image, training=False), scores, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({}, [(6, 8), (6, 8)]),
        ({"output_stride": 32}, [(3, 4), (2, 2)]),
        pytest.param({"backbone": "mobilenet_v2"}, [(6, 8), (6, 8)], marks=pytest.mark.slow),
        ({"backbone": "mobilenet_v2", "output_stride": 32}, [(4, 4), (2, 2)]),
    ],
)
@pytest.mark.slow_after(1)
def test_auxiliary_head_reads_stage_4(arguments, sizes):
    """By size where the stages differ; the score maps come to the picture's size from either stride."""
    model = build_pspnet(2, (41, 64, 3), aux_heads=True, filters=2, **arguments)
    layers = [model.get_layer(name) for name in ("auxiliary_conv", "decoder_conv")]
    assert [layer.input.shape[1:3] for layer in layers] == sizes
    if not arguments:
        assert layers[0].input is model.get_layer("encoder_stage4_unit6_relu").output
    image = np.zeros((1, 41, 64, 3), "float32")
    assert model(image, training=True).shape == (1, 41, 64, 2, 2)
    assert model(image).shape == model(image, training=False).shape == (1, 41, 64, 2)


def tiny_backbone():
    """Five strides of 2, so that training and export of a whole model take seconds."""
    x = image = keras.Input((None, None, 3))
    for stride in (2, 4, 8, 16, 32):
        x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name=f"stride_{stride}")(
            x
        )
    return keras.Model(image, x, name="tiny")


@pytest.mark.slow
def test_auxiliary_head_trains_and_serves_training_alone(tmp_path):
    import tensorflow as tf

    model = build_pspnet(
        3, (64, 96, 3), backbone=tiny_backbone(), output_stride=32, aux_heads=True, filters=2
    )
    kseg.compile(model, steps=1)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 96, 3)).astype("uint8")
    masks = rng.integers(0, 3, (2, 64, 96))
    with tf.GradientTape() as tape:
        loss = model.loss(masks, model(images.astype("float32"), training=True))
    gradients = tape.gradient(loss, model.trainable_weights)
    lost = [w.path for w, g in zip(model.trainable_weights, gradients, strict=True) if g is None]
    assert lost == []
    before = np.asarray(model.get_layer("auxiliary_logits").kernel).copy()
    model.fit(images, masks, batch_size=2, verbose=0)
    assert np.abs(model.get_layer("auxiliary_logits").kernel - before).max() > 0
    assert model.predict(images, verbose=0).shape == (2, 64, 96, 3)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-4)
    report = kseg.export_tflite(model, tmp_path / "m.tflite")
    assert report.same_class > 0.999
    assert not any("BATCH_ND" in name or "FLEX" in name.upper() for name in report.operators)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "resnet-50"}, "unknown variant 'resnet-50'; did you mean 'resnet50'"),
        ({"output_stride": 64}, r"output_stride must be one of \(8, 16, 32\)"),
        ({"stem": "deeep"}, "unknown stem 'deeep'; did you mean 'deep'"),
        ({"backbone_weights": "imagenet"}, "backbone_weights needs a named backbone"),
        ({"filters": True}, "filters must be a positive int"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_pspnet(2, **arguments)
