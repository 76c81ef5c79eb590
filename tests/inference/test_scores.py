"""What becomes of scores: ids in a type that holds them, several labels, nothing that is not finite."""

import keras
import numpy as np
import pytest
from keras import layers

import kseg
from kseg.inference import open_model

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype("uint8")


def many(num_classes, **more):
    """A model whose class is the red value, spread over the classes."""
    image = keras.Input((None, None, 3), **more)
    conv = layers.Conv2D(num_classes, 1)
    model = keras.Model(image, conv(image))
    centres = np.linspace(0, 255, num_classes)
    kernel = np.zeros((1, 1, 3, num_classes), "float32")
    kernel[0, 0, 0] = 2 * centres
    conv.set_weights([kernel, -(centres**2).astype("float32")])
    return model


@pytest.mark.parametrize(
    ("num_classes", "kind"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (1000, "uint16")]
)
def test_ids_come_in_the_smallest_type_that_holds_them(num_classes, kind, tmp_path):
    model = many(num_classes)
    expected = np.argmax(model(PICTURE[None].astype("float32"))[0], -1)
    mask = kseg.predict(model, PICTURE)
    assert mask.dtype == kind and mask.max() > 0.9 * (num_classes - 1)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(kseg.predict(model, PICTURE, crf={"iterations": 1}).dtype, kind)


def test_ids_above_255_are_evaluated_whole():
    model = many(300)
    expected = np.argmax(model(PICTURE[None].astype("float32"))[0], -1)
    result = kseg.evaluate(model, [(PICTURE[None], expected[None])])
    assert result.pixel_accuracy == 1 and result.matrix.shape == (300, 300)
    assert result.matrix.sum() == expected.size  # 255 is a class like others
    with pytest.raises(ValueError, match=r"ignore_class=7 names \[7\] of the classes"):
        kseg.evaluate(model, [(PICTURE[None], expected[None])], ignore_class=7)


def spoilt(value, classes=3):
    model = kseg.build_conv_stack(classes, (None, None, 3), depth=1, filters=2)
    weights = model.get_weights()
    weights[-1][0] = value
    model.set_weights(weights)
    return model


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("classes", [1, 3])
def test_scores_that_are_not_finite_are_an_error(value, classes, tmp_path):
    model = spoilt(value, classes)
    model.save(tmp_path / "m.keras")
    masks = np.zeros((1, 20, 24), "int32")
    for verb in (
        lambda: kseg.predict(model, PICTURE),
        lambda: kseg.predict(tmp_path / "m.keras", PICTURE),
        lambda: kseg.predict(model, PICTURE, output_kind="probabilities"),
        lambda: kseg.evaluate(model, [(PICTURE[None], masks)]),
        lambda: kseg.tune_crf(model, [(PICTURE[None], masks)]),
    ):
        with pytest.raises(ValueError, match="scores that are not finite"):
            verb()


def labels(activation):
    return kseg.build_conv_stack(3, (None, None, 3), depth=1, filters=4, activation=activation)


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_several_labels_have_a_threshold_each(activation):
    model = labels(activation)
    scores = np.asarray(model(PICTURE[None].astype("float32"), training=False))[0]
    mask = kseg.predict(model, PICTURE, multilabel=True)
    assert mask.dtype == "uint8" and mask.shape == (20, 24, 3)
    np.testing.assert_array_equal(mask, scores > (0 if activation is None else 0.5))
    probabilities = kseg.predict(model, PICTURE, multilabel=True, output_kind="probabilities")
    expected = scores if activation else 1 / (1 + np.exp(-scores.astype("float64")))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    with pytest.raises(ValueError, match="CRF takes one class per pixel"):
        kseg.predict(model, PICTURE, multilabel=True, crf=True)
    np.testing.assert_array_equal(kseg.predict(model, PICTURE), scores.argmax(-1))


def test_a_softmax_has_no_several_labels():
    with pytest.raises(ValueError, match=r"one sigmoid per label, but .* gives a softmax"):
        kseg.predict(labels("softmax"), PICTURE, multilabel=True)


def test_what_nothing_tells_is_asked_for_only_where_it_matters():
    image = keras.Input((None, None, 3))
    scaled = layers.Lambda(lambda t: keras.ops.sigmoid(t) * 0.9)
    several, one = (keras.Model(image, scaled(layers.Conv2D(n, 1)(image))) for n in (3, 1))
    expected = np.argmax(several(PICTURE[None].astype("float32"))[0], -1)
    np.testing.assert_array_equal(kseg.predict(several, PICTURE), expected)  # the arg-max of either
    for verb in (
        lambda **more: kseg.predict(several, PICTURE, output_kind="probabilities", **more),
        lambda **more: kseg.predict(one, PICTURE, **more),
        lambda **more: kseg.evaluate(one, [(PICTURE[None], np.zeros((1, 20, 24), "int32"))], **more),
    ):
        with pytest.raises(
            ValueError, match=r"nothing tells whether it gives logits .* activation=: 'linear'"
        ):
            verb()
        verb(activation="sigmoid")
    with pytest.raises(ValueError, match=r"activation='linear', but model .* gives softmax"):
        kseg.predict(labels("softmax"), PICTURE, activation="linear")


def test_a_model_runs_by_its_new_weights():
    model = labels(None)
    before = open_model(model)
    weights = [3 * weight for weight in model.get_weights()]
    model.set_weights(weights)
    assert open_model(model) is before
    np.testing.assert_array_equal(
        kseg.predict(model, PICTURE), np.argmax(model(PICTURE[None].astype("float32"))[0], -1)
    )
