"""Losses together, saved, in `fit`, with auxiliary heads, and those of others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.losses import Auxiliary, CrossEntropy, Dice, WeightedSum


def example():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 8, 6, 3)).astype("float32")
    return images, rng.choice([0, 1, 255], (4, 8, 6)).astype("uint8")


def combined():
    return CrossEntropy(class_weights=[1, 3]) + 0.5 * Dice(ignore_class=(254, 255), smooth=2.0)


def test_losses_add_up_with_their_weights():
    a, b, c = CrossEntropy(), Dice(), keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    _, mask = example()
    scores = np.random.default_rng(0).standard_normal((4, 8, 6, 2)).astype("float32")
    values = [float(loss(mask, scores)) for loss in (a, b, c)]
    total = 0.5 * a + b * 2 + c
    np.testing.assert_allclose(total(mask, scores), np.dot([0.5, 2, 1], values), rtol=1e-6)
    np.testing.assert_allclose(sum([a, b, c])(mask, scores), sum(values), rtol=1e-6)
    np.testing.assert_allclose((c + a)(mask, scores), values[2] + values[0], rtol=1e-6)
    np.testing.assert_allclose((np.float32(3) * total)(mask, scores), 3 * total(mask, scores), rtol=1e-6)


def test_losses_are_subtracted_and_divided():
    _, mask = example()
    scores = np.random.default_rng(0).standard_normal((4, 8, 6, 2)).astype("float32")
    a, b, c = CrossEntropy(), Dice(), keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)
    x, y, z = (float(loss(mask, scores)) for loss in (a, b, c))
    for loss, expected in {
        a / 2: x / 2,
        (a + b) / np.float32(4): (x + y) / 4,
        a - b: x - y,
        a - 2 * (b + c): x - 2 * y - 2 * z,
        a - c: x - z,
        c - (a - b): z - x + y,
        -(a - b): y - x,
    }.items():
        assert float(loss(mask, scores)) == pytest.approx(expected, abs=1e-6)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
        assert float(again(mask, scores)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "combine",
    [
        lambda a: a + 1,
        lambda a: a * a,
        lambda a: a * True,
        lambda a: "2" * a,
        lambda a: a - 1,
        lambda a: 1 - a,
        lambda a: 2 / a,
        lambda a: a / a,
        lambda a: a / True,
    ],
)
def test_losses_combine_with_losses_and_numbers_only(combine):
    with pytest.raises(TypeError):
        combine(CrossEntropy())


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy((254, 255), [1, 2], from_logits=False, name="mine"),
        Dice(None, smooth=0.5),
        combined(),
        Dice() + keras.losses.CategoricalCrossentropy(from_logits=True),
    ],
    ids=lambda loss: loss.name,
)
def test_a_config_makes_the_same_loss(loss):
    config = keras.saving.serialize_keras_object(loss)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()


def test_a_saved_model_keeps_its_loss(tmp_path):
    model = kseg.build_conv_stack(2, depth=1, filters=2)
    model.compile("sgd", combined())
    model.fit(*example(), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(again.loss, WeightedSum)
    assert again.evaluate(*example(), verbose=0) == pytest.approx(model.evaluate(*example(), verbose=0))


@pytest.mark.parametrize(("as_dataset", "jit_compile"), [(False, False), (True, False), (False, True)])
def test_fit_reports_the_loss(as_dataset, jit_compile):
    images, mask = example()
    weight = np.random.default_rng(0).random(mask.shape).astype("float32")
    model = kseg.build_conv_stack(2, (8, 6, 3), depth=1, filters=2, normalization=None)
    expected = float(combined()(mask, model(images), weight))
    model.compile("sgd", combined(), jit_compile=jit_compile)
    if as_dataset:
        dataset = tf.data.Dataset.from_tensor_slices((images, mask, weight)).batch(4)
        history = model.fit(dataset, shuffle=False, verbose=0).history
    else:
        history = model.fit(images, mask, sample_weight=weight, verbose=0).history
    assert history["loss"] == pytest.approx([expected], rel=1e-5)


def test_auxiliary_heads_add_their_weighted_loss():
    rng = np.random.default_rng(5)
    mask, scores = rng.integers(0, 3, (2, 4, 5)), rng.normal(size=(2, 4, 5, 3, 3)).astype("float32")
    loss = CrossEntropy() + Dice()
    expected = sum(weight * loss(mask, scores[..., head]) for head, weight in enumerate((1, 0.25, 0.25)))
    both = Auxiliary(loss, 0.25)
    np.testing.assert_allclose(both(mask, scores), expected, rtol=1e-6)
    np.testing.assert_allclose(both(mask, scores[..., 0]), loss(mask, scores[..., 0]), rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(both))
    np.testing.assert_allclose(again(mask, scores), expected, rtol=1e-6)


def test_auxiliary_heads_without_their_loss_are_an_error():
    with pytest.raises(ValueError, match=r"loss=kseg\.losses\.Auxiliary\(loss\)"):
        CrossEntropy()(np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, 3, 2), "float32"))


def test_the_weight_of_auxiliary_heads_holds_in_a_sum():
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 1)(image)
    model = keras.Model(image, kseg.blocks.with_auxiliary(x, [keras.layers.Conv2D(8, 1)(image)]))
    mask, scores = np.zeros((1, 8, 8), "int32"), np.zeros((1, 8, 8, 8, 2), "float32")
    one = float(kseg.compile(model, loss=Auxiliary(CrossEntropy(), weight=1.0)).loss(mask, scores))
    for loss in (1.0 * Auxiliary(CrossEntropy(), weight=1.0), Auxiliary(CrossEntropy(), 1.0) + 0.0 * Dice()):
        assert float(kseg.compile(model, loss=loss).loss(mask, scores)) == pytest.approx(one)


@pytest.mark.parametrize("given", ["mean_squared_error", keras.losses.BinaryFocalCrossentropy(gamma=3.0)])
def test_a_loss_of_others_is_itself_on_one_device_and_comes_back_from_its_config(given):
    rng = np.random.default_rng(0)
    true, scores = rng.random((2, 4, 5, 3)), rng.random((2, 4, 5, 3))
    loss = kseg.losses.PerReplica(given)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    expected = keras.losses.get(given)
    expected = (
        expected
        if isinstance(expected, keras.losses.Loss)
        else lambda *pair: np.mean(np.square(true - scores))
    )
    for each in (loss, again):
        np.testing.assert_allclose(each(true, scores), expected(true, scores), rtol=1e-5)
    assert type(again) is kseg.losses.PerReplica and again.name == loss.name
