"""Several labels per pixel: every loss against NumPy, void of one label alone, targets that are refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from formulas import by_pairs, jaccard_of_errors, mean_of_the_hardest, widest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.losses import Boundary, CrossEntropy, Dice, Focal, Jaccard, Lovasz, OhemCrossEntropy, Tversky

ALL = [CrossEntropy, Focal, OhemCrossEntropy, Dice, Jaccard, Tversky, Lovasz, Boundary]
each = pytest.mark.parametrize("loss", ALL)


def read(target, scores, from_logits):
    """Labels, what is valid, and the probabilities, in float64."""
    scores = scores.astype("float64")
    valid = target != 255
    return (
        np.where(valid, target, 0).astype("float64"),
        valid,
        1 / (1 + np.exp(-scores)) if from_logits else scores,
    )


def of_labels(loss, target, scores, weight, class_weights, from_logits):
    """The value, label by label and in float64."""
    t, valid, p = read(target, scores, from_logits)
    weight = weight[..., None] * valid
    share = np.ones(p.shape[-1]) if class_weights is None else np.array(class_weights)
    plain = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    if loss is CrossEntropy:
        return (share * plain * weight).sum() / max(valid.sum(), 1)
    if loss is Focal:
        damped = -(t * (1 - p) ** 2 * np.log(p) + (1 - t) * p**2 * np.log(1 - p))
        return (share * damped * weight).sum() / max(valid.sum(), 1)
    if loss is OhemCrossEntropy:
        return mean_of_the_hardest(plain[valid], (share * plain * weight)[valid], 0.7, 0.0625)
    values, counts = zip(
        *[of_one(loss, *(x[..., c] for x in (t, p, valid, weight))) for c in range(p.shape[-1])],
        strict=True,
    )
    share = share * counts
    return (share * values).sum() / share.sum() if share.any() else 0.0


def of_one(loss, t, p, valid, weight):
    """The value of one label, and whether it counts in the mean."""
    if loss is Lovasz:
        counted = weight > 0
        return jaccard_of_errors(t[counted], np.abs(t - p)[counted]), counted.any()
    if loss is Boundary:
        true, guess = (
            (widest(((1 - x) * valid)[..., None], 3)[..., 0] - (1 - x) * valid) * valid for x in (t, p)
        )
        near_true, near_guess = (widest(x[..., None], 5)[..., 0] for x in (true, guess))
        sums = [(x * weight).sum() for x in (guess, guess * near_true, true, true * near_guess)]
        precision = sums[1] / sums[0] if sums[0] else 0
        recall = sums[3] / sums[2] if sums[2] else 0
        return 1 - (2 * precision * recall / (precision + recall) if precision + recall else 0), sums[2] > 0
    alpha, beta = {Dice: (0.5, 0.5), Jaccard: (1, 1), Tversky: (0.3, 0.7)}[loss]
    smooth = 0.5 if loss is Dice else 1
    overlap, true_area, area = ((x * weight).sum() for x in (t * p, t, p))
    whole = overlap + alpha * (area - overlap) + beta * (true_area - overlap)
    return 1 - (overlap + smooth) / (whole + smooth), valid.any()


@st.composite
def batches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = *(draw(st.integers(1, n)) for n in (3, 6, 6)), draw(st.integers(1, 4))
    target = rng.choice([0, 1], size, p=[0.7, 0.3])
    target = np.where(rng.random(size) < draw(st.sampled_from([0, 0.3, 1])), 255, target)
    target[..., 0] = draw(st.sampled_from([0, 1, 255]))  # a label without any, everywhere, or void
    scores = 2 * rng.standard_normal(size)
    from_logits = draw(st.booleans())
    scores = scores if from_logits else 1 / (1 + np.exp(-scores))
    weight = rng.uniform(0, 2, size[:3]) if draw(st.booleans()) else None
    class_weights = rng.uniform(0.1, 2, size[3]).tolist() if draw(st.booleans()) else None
    dtype = draw(st.sampled_from(["uint8", "int32", "float32"]))
    return target.astype(dtype), scores.astype("float32"), weight, class_weights, from_logits


@each
@settings(max_examples=30, deadline=None)
@given(batches())
def test_value_is_that_of_every_label_on_its_own(loss, batch):
    target, scores, weight, class_weights, from_logits = batch
    made = loss(class_weights=class_weights, from_logits=from_logits, multilabel=True)
    weights = np.ones(target.shape[:3]) if weight is None else weight
    expected = of_labels(loss, target, scores, weights, class_weights, from_logits)
    np.testing.assert_allclose(made(target, scores, weight), expected, rtol=2e-5, atol=1e-6)


@each
@settings(max_examples=15, deadline=None)
@given(batches())
def test_void_of_a_label_has_no_slope_whatever_its_score(loss, batch):
    target, scores, weight, class_weights, from_logits = batch
    made = loss(class_weights=class_weights, from_logits=from_logits, multilabel=True)
    scores[target == 255] = np.nan
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = made(target, scores, weight)
    gradient = np.asarray(tape.gradient(value, scores))
    assert np.isfinite(value) and np.isfinite(gradient).all() and not gradient[target == 255].any()


def test_cross_entropy_and_focal_are_keras_own():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (2, 4, 5, 3)).astype("float32")
    scores = rng.standard_normal((2, 4, 5, 3)).astype("float32")
    for ours, theirs in {
        CrossEntropy(multilabel=True): keras.losses.BinaryCrossentropy(True),
        CrossEntropy(multilabel=True, label_smoothing=0.2): keras.losses.BinaryCrossentropy(True, 0.2),
        Focal(multilabel=True): keras.losses.BinaryFocalCrossentropy(from_logits=True),
    }.items():
        np.testing.assert_allclose(ours(target, scores), theirs(target, scores), rtol=1e-5)


def test_the_hinge_is_the_mean_of_each_labels():
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 255], (2, 4, 5, 3))
    scores = rng.standard_normal((2, 4, 5, 3)).astype("float32")
    alone = [Lovasz(hinge=True)(target[..., c : c + 1], scores[..., c : c + 1]) for c in range(3)]
    np.testing.assert_allclose(Lovasz(hinge=True, multilabel=True)(target, scores), np.mean(alone), rtol=1e-5)


@each
def test_a_label_where_there_is_none_costs_something(loss):
    target = np.zeros((1, 8, 8, 2), "uint8")
    target[:, 2:5, 2:5, 0] = 1  # the second label is nowhere
    exact = np.where(target, 9.0, -9.0).astype("float32")
    greedy = exact.copy()
    greedy[..., 1] = 9
    made = loss(multilabel=True)
    if loss is Boundary:  # it sees borders of the truth alone
        greedy[..., 0] = 9
    assert float(made(target, greedy)) > float(made(target, exact)) + 0.05


@each
def test_extreme_scores_give_finite_values_and_slopes(loss):
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 255], (2, 4, 5, 3))
    scores = tf.constant(rng.choice([-1e30, 0, 1e30], (2, 4, 5, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(multilabel=True)(target, scores)
    assert np.isfinite(value) and np.isfinite(tape.gradient(value, scores)).all()


@pytest.mark.parametrize(("loss", "wrong"), by_pairs([2, 128, -1]))
def test_values_that_are_no_label_never_pass(loss, wrong):
    target, scores = np.zeros((1, 2, 2, 3), "int32"), np.zeros((1, 2, 2, 3), "float32")
    target[0, 1, 1, 2] = wrong
    made = loss(multilabel=True)
    for call in (made, tf.function(made)):
        with pytest.raises(
            (ValueError, tf.errors.InvalidArgumentError),
            match=r"(?s)must hold 0, 1 or void.*map them to 0 or 1",
        ):
            call(target, scores)
    assert np.isnan(tf.function(made, jit_compile=True)(target, scores))


@each
@pytest.mark.parametrize("target", [(2, 4, 5), (2, 4, 5, 1), (2, 4, 5, 2), (1, 4, 5, 3), (2, 5, 4, 3)])
def test_shapes_that_do_not_fit_are_refused(loss, target):
    with pytest.raises(ValueError, match=r"with multilabel=True y_true must be \(B, H, W, C\)"):
        loss(multilabel=True)(np.zeros(target, "int32"), np.zeros((2, 4, 5, 3), "float32"))


@each
@pytest.mark.parametrize("void", [0, 1, (1, 255)])
def test_void_is_neither_0_nor_1(loss, void):
    with pytest.raises(ValueError, match=r"names \[[01]\] of the classes 0\.\.1"):
        loss(ignore_class=void, multilabel=True)


@each
def test_void_may_be_another_value_or_none(loss):
    rng = np.random.default_rng(0)
    target, scores = rng.choice([0, 1, 7], (2, 4, 5, 3)), rng.standard_normal((2, 4, 5, 3)).astype("float32")
    expected = float(loss(multilabel=True)(np.where(target == 7, 255, target), scores))
    assert float(loss(ignore_class=7, multilabel=True)(target, scores)) == pytest.approx(expected)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="must hold 0, 1 or void"):
        loss(ignore_class=None, multilabel=True)(target, scores)


@each
def test_the_config_keeps_it_and_xla_and_open_sizes_agree(loss):
    made = loss(class_weights=[1, 2, 3], multilabel=True)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.multilabel is True and again.get_config() == made.get_config()
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 255], (2, 4, 5, 3)).astype("int32")
    scores = rng.standard_normal((2, 4, 5, 3)).astype("float32")
    opened = [tf.TensorSpec((None, None, None, 3), "int32"), tf.TensorSpec((None, None, None, 3))]
    for call in (tf.function(again, jit_compile=True), tf.function(again, input_signature=opened)):
        np.testing.assert_allclose(call(target, scores), made(target, scores), rtol=1e-5)


@pytest.mark.parametrize("loss", [Dice, Jaccard, Tversky])
def test_labels_have_no_background(loss):
    with pytest.raises(ValueError, match=r"channel 0 is a label like the others"):
        loss(multilabel=True, include_background=False)


def test_training_finds_labels_that_overlap():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 16, 16, 3)).astype("float32")
    target = (images[..., :2] > 128).astype("uint8")  # two labels: red and green, in any combination
    model = kseg.build_conv_stack(2, depth=1, filters=8, normalization=None)
    loss = CrossEntropy(multilabel=True) + Dice(multilabel=True)
    model.compile(keras.optimizers.Adam(0.05), loss)
    model.fit(images, target, epochs=40, verbose=0)
    assert ((model.predict(images, verbose=0) > 0) == target).mean() > 0.9
