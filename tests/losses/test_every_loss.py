"""What holds for every loss: its value and slope, void, shapes, extreme scores, XLA."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from formulas import FORMULAS, batches, by_pairs, dice, per_pixel, read
from hypothesis import assume, given, settings

import kseg
from kseg.losses import CrossEntropy, Dice

IDS = [loss.__name__ for loss, _ in FORMULAS]
both = pytest.mark.parametrize(("loss", "formula"), FORMULAS, ids=IDS)
each = pytest.mark.parametrize("loss", [loss for loss, _ in FORMULAS])


def tensors(loss, target, scores, sample_weight=None):
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(target, scores, sample_weight)
    return value, tape.gradient(value, scores)


def value_and_gradient(loss, target, scores, sample_weight=None):
    made = tensors(loss, target, tf.convert_to_tensor(scores), sample_weight)
    return [np.asarray(tensor, "float64") for tensor in made]


@functools.cache
def by_xla(loss, from_logits):
    """Return value and gradient as a function that is compiled once for each form of its arguments."""
    return tf.function(functools.partial(tensors, loss(from_logits=from_logits)), jit_compile=True)


@functools.cache
def traced(loss, from_logits=True, *channels):
    """Return the loss as a function that is traced once, for any size."""
    open_sizes = [tf.TensorSpec((None, None, None, *channels), "int32"), tf.TensorSpec((None, None, None, 3))]
    return tf.function(loss(from_logits=from_logits), input_signature=open_sizes)


@both
@settings(max_examples=40, deadline=None)
@given(batches())
def test_value_is_the_formula_in_float64(loss, formula, batch):
    target, scores, sample_weight, options = batch
    expected = formula(target, scores, sample_weight=per_pixel(sample_weight), **options)
    np.testing.assert_allclose(loss(**options)(target, scores, sample_weight), expected, rtol=1e-5, atol=1e-6)


@both
@settings(max_examples=20, deadline=None)
@given(batches())
def test_gradient_is_the_slope_of_the_formula(loss, formula, batch):
    target, scores, sample_weight, options = batch
    direction = np.random.default_rng(0).standard_normal(scores.shape) * scores
    _, gradient = value_and_gradient(loss(**options), target, scores, sample_weight)
    options = {**options, "sample_weight": per_pixel(sample_weight)}
    ahead, here, behind = (formula(target, scores + step * direction, **options) for step in (1e-5, 0, -1e-5))
    assume(
        abs(ahead - 2 * here + behind) < 1e-9
    )  # a kink, where errors of Lovász change their order, has no slope
    np.testing.assert_allclose((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-4)


@each
@settings(max_examples=20, deadline=None)
@given(batches())
def test_void_pixels_have_no_gradient_at_all(loss, batch):
    target, scores, sample_weight, options = batch
    _, valid, _, _ = read(target, scores, (255,), options["from_logits"])
    _, gradient = value_and_gradient(loss(**options), target, scores, sample_weight)
    assert np.isfinite(gradient).all()
    assert not gradient[~valid].any()


@each
@pytest.mark.parametrize("target", [np.full((2, 3, 4), 255, "uint8"), np.zeros((2, 3, 4, 3), "float32")])
def test_a_batch_of_void_has_no_loss_and_no_gradient(loss, target):
    value, gradient = value_and_gradient(loss(), target, np.ones((2, 3, 4, 3), "float32"))
    assert value == 0 and not gradient.any()


@both
@pytest.mark.parametrize(("dtype", "extreme"), [("float16", 6e4), ("bfloat16", 1e30), ("float32", 1e30)])
@pytest.mark.parametrize("one_hot", [False, True])
def test_extreme_logits_give_finite_values_and_gradients(loss, formula, dtype, extreme, one_hot):
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 2, 255], (2, 9, 8))
    target = np.asarray(kseg.one_hot(target, 3)) if one_hot else target
    scores = tf.cast(rng.choice([-extreme, 0, extreme], (2, 9, 8, 3)), dtype)
    value, gradient = value_and_gradient(loss(), target, scores)
    np.testing.assert_allclose(value, formula(target, np.asarray(scores, "float64")), rtol=1e-5)
    assert np.isfinite(gradient).all()


@both
def test_certain_probabilities_give_finite_values_and_gradients(loss, formula):
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, (2, 5, 4))
    scores = np.eye(3, dtype="float32")[rng.integers(0, 3, (2, 5, 4))]
    value, gradient = value_and_gradient(loss(from_logits=False), target, scores)
    np.testing.assert_allclose(value, formula(target, scores, from_logits=False), rtol=1e-5)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("void", [0, 0.4])
def test_cross_entropy_is_keras_own(from_logits, void):
    rng = np.random.default_rng(0)
    mask = np.where(rng.random((2, 7, 6)) < void, 255, rng.integers(0, 5, (2, 7, 6)))
    scores = rng.standard_normal((2, 7, 6, 5)).astype("float32")
    scores = scores if from_logits else np.asarray(keras.ops.softmax(scores))
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits, ignore_class=255)(mask, scores)
    np.testing.assert_allclose(CrossEntropy(from_logits=from_logits)(mask, scores), expected, rtol=1e-6)


@both
@pytest.mark.parametrize("ignore", [(), (3,), (7, 255), (-1,)])
def test_ignore_class_names_no_one_or_several_ids(loss, formula, ignore):
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, *ignore], (2, 5, 4))
    scores = rng.standard_normal((2, 5, 4, 3)).astype("float32")
    argument = {0: None, 1: ignore[0] if ignore else None}.get(len(ignore), ignore)
    expected = formula(mask, scores, ignore=ignore)
    np.testing.assert_allclose(loss(ignore_class=argument)(mask, scores), expected, rtol=1e-5)


@pytest.mark.parametrize("smooth", [0.0, 5.0])
def test_dice_adds_smooth_to_both_sides(smooth):
    mask, scores = np.array([[[0, 1, 1]]]), np.array([[[[1.0, 0], [2, 1], [0, 3]]]])
    np.testing.assert_allclose(
        Dice(smooth=smooth)(mask, scores), dice(mask, scores, smooth=smooth), rtol=1e-6
    )


@each
@pytest.mark.parametrize(
    ("target", "scores"),
    [
        ((4, 5), (4, 5, 3)),
        ((2, 20), (2, 20, 3)),
        ((2, 4, 5), (2, 4, 5)),
        ((1, 4, 5), (2, 4, 5, 3)),
        ((2, 1, 5), (2, 4, 5, 3)),
        ((2, 5, 4), (2, 4, 5, 3)),
        ((2, 4, 5), (1, 4, 5, 3)),
        ((1, 4, 5, 1), (2, 4, 5, 3)),
        ((2, 4, 5, 2), (2, 4, 5, 3)),
        ((2, 4, 5, 3), (2, 4, 5, 1)),
        ((2, 1, 1, 3), (2, 4, 5, 3)),
        ((2, 4, 5, 1, 1), (2, 4, 5, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(loss, target, scores):
    with pytest.raises(ValueError, match="y_true must be ids"):
        loss()(np.zeros(target, "int32"), np.zeros(scores, "float32"))


@each
@pytest.mark.parametrize("target", [(1, 4, 5), (2, 1, 5), (2, 5, 4), (1, 4, 5, 3), (2, 4, 1, 3)])
@pytest.mark.slow_after(6)
def test_shapes_that_do_not_fit_are_refused_when_known_at_run_time_only(loss, target):
    function = traced(loss, True, *target[3:])
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="differ in size"):
        function(np.zeros(target, "int32"), np.zeros((2, 4, 5, 3), "float32"))


@each
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 4), (2, 1), (1, 4, 5), (2, 1, 1), (2, 5, 4), (2, 4, 5, 3)])
def test_sample_weights_that_do_not_fit_are_refused(loss, shape):
    with pytest.raises(ValueError, match="sample_weight must be"):
        loss()(np.zeros((2, 4, 5), "int32"), np.zeros((2, 4, 5, 3), "float32"), np.ones(shape))


@each
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_masks_of_floats_are_refused(loss, shape, dtype):
    with pytest.raises(TypeError, match=f"integer class ids, got dtype {dtype}"):
        loss()(np.zeros(shape, dtype), np.zeros((2, 4, 5, 3), "float32"))


@each
@pytest.mark.parametrize(("channels", "number"), [(3, 2), (3, 4), (1, 1), (1, 3)])
def test_a_wrong_number_of_class_weights_is_refused(loss, channels, number):
    with pytest.raises(ValueError, match=f"{number} weights for {max(channels, 2)} classes"):
        loss(class_weights=[1.0] * number)(
            np.zeros((2, 4, 5), "int32"), np.zeros((2, 4, 5, channels), "float32")
        )


@each
@pytest.mark.parametrize("weights", [[1, -1], [1, np.nan], [np.inf, 1], [0, 0], [[1, 2]], [], 1.0, {0: 1.0}])
def test_bad_class_weights_are_refused(loss, weights):
    with pytest.raises(ValueError, match="class_weights must be one finite float >= 0 per class"):
        loss(class_weights=weights)


@pytest.mark.parametrize(
    ("loss", "case"), by_pairs([(n, flag) for flag in (True, False) for n in (3, 254, -1)])
)
@pytest.mark.slow_after(4)
def test_an_id_that_is_no_class_never_passes(loss, case):
    number, from_logits = case
    target, logits, probabilities = batch()
    target[0, 0, 2] = number
    scores = tf.constant(logits if from_logits else probabilities)
    value, _ = by_xla(loss, from_logits)(target, scores)
    assert np.isnan(value)
    said = rf"y_true must hold ids 0..2 or void.*{number}.*map them to a class or to ignore_class"
    for run in (loss(from_logits=from_logits), traced(loss, from_logits)):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=f"(?s){said}"):
            run(target, scores)


@each
def test_a_score_that_is_no_number_never_passes(loss):
    scores = np.random.default_rng(0).normal(size=(1, 1, 4, 3)).astype("float32")
    scores[0, 0, 1, 1] = np.nan
    assert np.isnan(loss()(np.array([[[0, 1, 2, 1]]]), scores))


def test_cross_entropy_has_second_derivatives_and_a_slope_by_its_weights():
    rng = np.random.default_rng(0)
    target = np.array([[[0, 2, 255, 1]]])
    x, w = (tf.Variable(rng.normal(size=(1, 1, 4, *more)).astype("float32")) for more in ((3,), ()))

    def plain(weight):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(np.where(target == 255, 0, target), x)
        return tf.reduce_sum(losses * weight * (target != 255)) / 3

    @tf.function
    def derivatives(loss):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                value = loss(tf.nn.softplus(w)) ** 2 + tf.exp(loss(None if loss is ours else 1.0))
            slopes = inner.gradient(value, (x, w))
        return *slopes, outer.jacobian(slopes[0], x, experimental_use_pfor=False)

    def ours(weight):
        return CrossEntropy()(target, x, weight)

    for have, want in zip(derivatives(ours), derivatives(plain), strict=True):
        np.testing.assert_allclose(have, want, atol=1e-6)


@pytest.mark.parametrize("largest", [1e-3, 5.0, 39.9, 40.1, 90.0, 1e4, 1e30])
def test_cross_entropy_keeps_its_precision_for_scores_of_any_size(largest):
    rng = np.random.default_rng(0)
    scores = largest * rng.uniform(-1, 1, (2, 8, 6, 5)).astype("float32")
    scores[0, 0, 0] = largest * np.array([1, -1, -1, -1, -1], "float32")
    target = rng.integers(0, 5, (2, 8, 6))
    target[0, 0, 0], target[0, 0, 1] = 0, scores[0, 0, 1].argmax()
    x = scores.astype("float64") - scores.max(-1, keepdims=True)
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    hot = np.eye(5)[target]
    expected = (np.log(np.exp(x).sum(-1)) - (hot * x).sum(-1)).mean()
    value, gradient = value_and_gradient(CrossEntropy(), target, scores)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, (p - hot) / target.size, atol=1e-7 / target.size * 5)


def batch():
    """Return ids with void, logits, and their probabilities."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((4, 8, 6, 3)).astype("float32")
    target = rng.choice([0, 1, 255], (4, 8, 6)).astype("int32")
    return target, scores, np.asarray(keras.ops.softmax(scores))


@pytest.mark.parametrize(("loss", "form"), by_pairs(["ids", "ids, probabilities", "one-hot"]))
def test_compiled_by_xla_it_is_the_same(loss, form):
    target, scores, probabilities = batch()
    from_logits = "probabilities" not in form
    scores = scores if from_logits else probabilities
    target = np.asarray(kseg.one_hot(target, 3)) if form == "one-hot" else target
    expected = value_and_gradient(loss(from_logits=from_logits), target, scores)
    made = by_xla(loss, from_logits)(target, tf.constant(scores))
    for actual, value in zip(made, expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-7)


@each
@pytest.mark.parametrize("size", [(0, 4, 5), (2, 0, 5)])
def test_an_empty_batch_has_no_loss(loss, size):
    assert float(loss()(np.zeros(size, "int32"), np.zeros((*size, 3), "float32"))) == 0


@each
def test_void_of_numpy_comes_back_from_a_config(loss):
    made = loss(ignore_class=np.array([254, 255]))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert tuple(again.ignore_class) == made.ignore_class == (254, 255)


@each
@pytest.mark.parametrize("ignore", [1.7, "255", [[1]], [0.5]])
def test_void_is_an_id(loss, ignore):
    with pytest.raises(ValueError, match="ignore_class must be None, an int or several"):
        loss(ignore_class=ignore)
