"""What no loss takes without a word: other targets, negative weights, void among the classes; void itself."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from formulas import FORMULAS, by_pairs, dice, jaccard, mean_of_the_hardest, read, tversky, weights_of

import kseg
from kseg.losses import CrossEntropy, Dice, Focal, Jaccard, OhemCrossEntropy, Tversky
from kseg.losses.combining import WeightedSum

IDS = [loss.__name__ for loss, _ in FORMULAS]
each = pytest.mark.parametrize("loss", [loss for loss, _ in FORMULAS], ids=IDS)
refused = (ValueError, tf.errors.InvalidArgumentError)  # at once, and out of a graph


def value_and_gradient(loss, target, scores, sample_weight=None):
    scores = tf.convert_to_tensor(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(target, scores, sample_weight)
    return np.asarray(value), np.asarray(tape.gradient(value, scores))


def by_xla(loss, *arguments):
    return tf.function(loss, jit_compile=True)(*arguments)


def example(form="ids", size=(2, 5, 4)):
    """Targets of three classes, some of them void, and logits."""
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 255], size)
    target = mask if form == "ids" else np.array(kseg.one_hot(mask, 3))
    return target, rng.standard_normal((*size, 3)).astype("float32"), mask == 255


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["ids", "one-hot", "probabilities"])
@pytest.mark.parametrize("loss", [*[each for each, _ in FORMULAS], WeightedSum], ids=[*IDS, "sum"])
def test_void_may_have_any_score(loss, form, score):
    target, scores, void = example("one-hot" if form == "one-hot" else "ids")
    options = {"from_logits": form != "probabilities"}
    loss = CrossEntropy(**options) - Dice(**options) / 2 if loss is WeightedSum else loss(**options)
    scores = scores if options["from_logits"] else np.array(keras.ops.softmax(scores))
    expected = value_and_gradient(loss, target, scores)
    scores[void, 1] = score
    for actual, other in zip(value_and_gradient(loss, target, scores), expected, strict=True):
        np.testing.assert_allclose(actual, other, rtol=1e-5, atol=1e-8)


def test_the_fused_slope_of_cross_entropy_is_harmless_at_void_too():
    target, scores, void = example(size=(1, 128, 128))
    step = tf.function(functools.partial(value_and_gradient_in_graph, CrossEntropy()))
    _, expected = step(target, scores)
    scores[void] = np.nan
    np.testing.assert_allclose(step(target, scores)[1], expected, rtol=1e-5, atol=1e-10)


def value_and_gradient_in_graph(loss, target, scores):
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(target, scores)
    return value, tape.gradient(value, scores)


ROWS = {
    "a picture of colours": np.full((1, 2, 2, 3), (128, 64, 0), "uint8"),
    "a colour that is dark": np.full((1, 2, 2, 3), (1, 1, 0), "uint8"),
    "several labels": np.full((1, 2, 2, 3), (1, 0, 1), "float32"),
    "half a row": np.full((1, 2, 2, 3), (0.5, 0, 0), "float32"),
    "below 0": np.full((1, 2, 2, 3), (2, -1, 0), "float32"),
    "no number": np.full((1, 2, 2, 3), np.nan, "float32"),
}


@pytest.mark.parametrize(("loss", "rows"), by_pairs(list(ROWS)))
@pytest.mark.slow_after(5)
def test_rows_that_add_up_to_neither_1_nor_0_never_pass(loss, rows):
    target, scores = ROWS[rows], np.zeros((1, 2, 2, 3), "float32")
    target = np.concatenate([np.eye(3, dtype=target.dtype)[[[[0, 1]]]], target], 1)  # the rest is right
    scores = np.zeros((1, 3, 2, 3), "float32")
    for call in (loss(), tf.function(loss())):
        with pytest.raises(refused, match=r"(?s)one-hot or soft.*colours into ids.*multilabel=True"):
            call(target, scores)
    assert np.isnan(by_xla(loss(), target, scores))


@each
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "uint8"])
def test_rows_that_are_rounded_pass(loss, dtype):
    target, scores, _ = example("one-hot")
    if dtype != "uint8":
        target = target * 0.9 + 0.1 / 3 * target.sum(-1, keepdims=True)
    assert np.isfinite(loss()(tf.cast(target, dtype), scores))


SHAPES = [(2,), (2, 5, 4), (2, 5, 4, 1)]


@pytest.mark.parametrize(("loss", "case"), by_pairs([(w, shape) for shape in SHAPES for w in (-0.1, np.nan)]))
@pytest.mark.slow_after(5)
def test_negative_sample_weights_never_pass(loss, case):
    weight, shape = case
    target, scores, _ = example()
    weights = np.ones(shape, "float32")
    weights.flat[-1] = weight
    for call in (loss(), tf.function(loss())):
        with pytest.raises(refused, match=r"(?s)sample_weight must be 0 or more, got"):
            call(target, scores, weights)
    assert np.isnan(by_xla(loss(), target, scores, weights))


@each
@pytest.mark.parametrize(("void", "channels"), [(1, 3), ((2, 255), 3), (0, 1), (1, 1), (255, 300)])
def test_void_among_the_classes_is_an_error(loss, void, channels):
    if channels == 300:
        void = (255, 300)  # 255 alone is the default
    with pytest.raises(ValueError, match=r"ignore_class=.* names \[\d+\] of the classes 0\.\.\d+"):
        loss(ignore_class=void)(np.zeros((1, 2, 2), "int32"), np.zeros((1, 2, 2, channels), "float32"))


@each
def test_the_default_void_is_none_for_more_than_255_classes(loss):
    scores = np.random.default_rng(0).standard_normal((1, 2, 2, 300)).astype("float32")
    mask = np.array([[[255, 255], [254, 299]]])
    assert float(loss()(mask, scores)) == pytest.approx(float(loss(ignore_class=None)(mask, scores)))
    assert float(loss()(mask, scores)) != pytest.approx(float(loss(ignore_class=-1)(mask * 0, scores)))


@pytest.mark.parametrize(
    ("loss", "formula"),
    [(Dice, dice), (Jaccard, jaccard), (Tversky, tversky), (functools.partial(Tversky, beta=0.0), None)],
)
def test_a_class_that_is_nowhere_has_no_loss_and_no_slope(loss, formula):
    mask = np.array([[[0, 1, 0, 1]]])
    p = np.random.default_rng(0).dirichlet(np.ones(2), (1, 1, 4))
    p = np.concatenate([p, 0 * p[..., :1]], -1).astype("float32")  # class 2 is nowhere, with probability 0
    value, gradient = value_and_gradient(loss(smooth=0.0, from_logits=False), mask, p)
    expected = (formula or functools.partial(tversky, beta=0.0))(
        mask, p[..., :2], smooth=0.0, from_logits=False
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all() and not gradient[..., 2].any() and gradient[..., :2].any()


def test_nothing_predicted_is_a_whole_loss_where_false_positives_count_alone():
    p = np.array([[[[1.0, 0.0], [1.0, 0.0]]]])
    value, gradient = value_and_gradient(
        Tversky(alpha=1.0, beta=0.0, smooth=0.0, from_logits=False), np.array([[[0, 1]]]), p
    )
    np.testing.assert_allclose(value, (0.5 + 1) / 2)
    assert np.isfinite(gradient).all()


def test_ties_for_the_last_places_keep_as_many_as_the_docstring_says():
    """Half of the pixels are certain and right; a fifth is to be kept, of which one alone has a loss."""
    scores = np.zeros((1, 1, 10, 2), "float32")
    scores[..., 0] = 200
    scores[0, 0, 0] = [1.0, 0.0]  # 0.73, above the threshold
    value = OhemCrossEntropy(min_kept=2)(np.zeros((1, 1, 10), "int32"), scores)
    np.testing.assert_allclose(value, np.log(1 + np.exp(-1)) / 2, rtol=1e-5)
    value = OhemCrossEntropy(min_kept=0.5)(np.zeros((1, 1, 10), "int32"), scores)
    np.testing.assert_allclose(value, np.log(1 + np.exp(-1)) / 5, rtol=1e-5)


@pytest.mark.parametrize("min_kept", [1, 3, 5, 0.4, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_ties_share_the_last_places(min_kept, weighted):
    rng = np.random.default_rng(0)
    logits = np.array([0.0, 2.0, 2.0, 3.0, 200.0])[rng.integers(0, 5, (2, 3, 4))]
    scores = np.stack([logits, 0 * logits], -1).astype("float32")
    losses = np.log1p(np.exp(-logits)).ravel()
    weight = rng.uniform(0.5, 2, (2, 3, 4)) if weighted else np.ones((2, 3, 4))
    value = OhemCrossEntropy(min_kept=min_kept)(np.zeros((2, 3, 4), "int32"), scores, weight)
    np.testing.assert_allclose(
        value, mean_of_the_hardest(losses, losses * weight.ravel(), 0.7, min_kept), rtol=1e-5
    )


@pytest.mark.parametrize("form", ["ids", "one-hot"])
@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("from_logits", [True, False])
def test_label_smoothing_spreads_a_share_over_all_classes(form, class_weights, from_logits):
    target, scores, _ = example(form)
    scores = scores if from_logits else np.array(keras.ops.softmax(scores))
    options = {"label_smoothing": 0.3, "class_weights": class_weights, "from_logits": from_logits}
    hot, valid, log_p, p = read(target, scores, (255,), from_logits)
    rows = (0.7 * hot + 0.1) * weights_of(class_weights, 3)
    losses = -(rows * log_p).sum(-1)[valid]
    np.testing.assert_allclose(CrossEntropy(**options)(target, scores), losses.mean(), rtol=1e-5)
    focal = -(rows * (1 - p) ** 2 * log_p).sum(-1)[valid]
    np.testing.assert_allclose(Focal(**options)(target, scores), focal.mean(), rtol=1e-5)
    plain = -(hot * log_p).sum(-1)[valid]
    hardest = mean_of_the_hardest(plain, losses, 0.7, 0.0625)
    np.testing.assert_allclose(OhemCrossEntropy(**options)(target, scores), hardest, rtol=1e-5)


def test_label_smoothing_is_keras_own():
    target, scores, void = example("one-hot")
    target[void] = (1, 0, 0)
    keras_own = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    np.testing.assert_allclose(
        CrossEntropy(label_smoothing=0.2)(target, scores), keras_own(target, scores), rtol=1e-5
    )
    binary = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2)
    mask = target[..., :1].astype("int32")
    np.testing.assert_allclose(
        CrossEntropy(label_smoothing=0.2)(mask, scores[..., :1]), binary(mask, scores[..., :1]), rtol=1e-5
    )


@pytest.mark.parametrize("loss", [CrossEntropy, Focal, OhemCrossEntropy])
@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_label_smoothing_is_a_share(loss, share):
    with pytest.raises(ValueError, match="label_smoothing must be a share"):
        loss(label_smoothing=share)


@pytest.mark.parametrize(("loss", "formula"), [(Dice, dice), (Jaccard, jaccard), (Tversky, tversky)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_foreground_alone_has_no_class_0(loss, formula, channels):
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 255] if channels == 3 else [0, 1, 255], (2, 5, 4))
    scores = rng.standard_normal((2, 5, 4, channels)).astype("float32")
    expected = formula(mask, scores, class_weights=[0.0] + [1.0] * max(channels - 1, 1))
    np.testing.assert_allclose(loss(include_background=False)(mask, scores), expected, rtol=1e-5)
    assert float(loss(include_background=False)(np.zeros_like(mask), scores)) == 0
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss(include_background=False))
    )
    assert again.include_background is False
