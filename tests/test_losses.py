import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.losses import Auxiliary, CrossEntropy, Dice, WeightedSum


def read(target, scores, ignore, from_logits):
    """One-hot targets, the pixels that count, and the probabilities, in float64."""
    scores = scores.astype("float64")
    if scores.shape[-1] == 1:
        scores = np.concatenate([0 * scores if from_logits else 1 - scores, scores], -1)
    if target.ndim == 3 or target.shape[-1] == 1:
        mask = target.reshape(scores.shape[:3]).astype(int)
        valid = ~np.isin(mask, ignore)
        target = np.eye(scores.shape[-1])[np.where(valid, mask, 0)]
    else:
        valid = target.sum(-1) > 0
    if from_logits:
        shifted = scores - scores.max(-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    else:
        log_p = np.log(np.maximum(scores, 1e-7))
    return target.astype("float64"), valid, log_p, np.exp(log_p) if from_logits else scores


def cross_entropy(target, scores, class_weights=None, sample_weight=1.0, ignore=(255,), from_logits=True):
    target, valid, log_p, _ = read(target, scores, ignore, from_logits)
    weights = np.ones(target.shape[-1]) if class_weights is None else np.array(class_weights)
    losses = -(target * weights * log_p).sum(-1) * sample_weight
    return losses[valid].sum() / max(valid.sum(), 1)


def dice(target, scores, class_weights=None, sample_weight=1.0, ignore=(255,), from_logits=True, smooth=1.0):
    target, valid, _, p = read(target, scores, ignore, from_logits)
    weights = np.ones(target.shape[-1]) if class_weights is None else np.array(class_weights)
    counts = (valid * sample_weight)[..., None]
    overlap, true_area, area = ((x * counts).sum((0, 1, 2)) for x in (target * p, target, p))
    share = weights * (true_area > 0)
    if share.sum() == 0:
        return 0.0
    return (share * (1 - (2 * overlap + smooth) / (true_area + area + smooth))).sum() / share.sum()


both = pytest.mark.parametrize(("loss", "formula"), [(CrossEntropy, cross_entropy), (Dice, dice)])
each = pytest.mark.parametrize("loss", [CrossEntropy, Dice])


@st.composite
def batches(draw):
    """Targets, scores, and the options of the loss, for the formula and for the loss."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = tuple(draw(st.integers(1, n)) for n in (3, 6, 6))
    channels = draw(st.integers(1, 6))
    classes = max(channels, 2)
    void = rng.random(size) < draw(st.sampled_from([0, 0.3, 1]))
    target = np.where(void, 255, rng.integers(0, classes, size))
    form = draw(st.sampled_from(["ids", "ids with a last axis"] + ["one-hot", "soft"] * (channels > 1)))
    if form == "one-hot":
        target = (target[..., None] == np.arange(classes)).astype("float32")
    elif form == "soft":
        target = (rng.dirichlet(np.ones(classes), size) * ~void[..., None]).astype("float32")
    else:
        target = target.astype(draw(st.sampled_from(["uint8", "int32", "int64"])))
        target = target[..., None] if form == "ids with a last axis" else target
    from_logits = draw(st.booleans())
    scores = rng.standard_normal((*size, channels))
    if from_logits:
        scores *= 3
    else:
        scores = 1 / (1 + np.exp(-scores))
        scores /= scores.sum(-1, keepdims=True) if channels > 1 else 1
    options = {"from_logits": from_logits, "class_weights": None}
    if draw(st.booleans()):
        options["class_weights"] = rng.uniform(0.1, 2, classes).tolist()
    weight = rng.uniform(0, 2, size)
    sample_weight = draw(st.sampled_from([None, weight[:, 0, 0], weight, weight[..., None]]))
    return target, scores.astype("float32"), sample_weight, options


def per_pixel(weight):
    if weight is None:
        return 1.0
    return weight[:, None, None] if weight.ndim == 1 else weight.reshape(weight.shape[:3])


def value_and_gradient(loss, target, scores, sample_weight=None):
    scores = tf.convert_to_tensor(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = loss(target, scores, sample_weight)
    return np.asarray(value, "float64"), np.asarray(tape.gradient(value, scores), "float64")


@both
@settings(max_examples=60, deadline=None)
@given(batches())
def test_value_is_the_formula_in_float64(loss, formula, batch):
    target, scores, sample_weight, options = batch
    expected = formula(target, scores, sample_weight=per_pixel(sample_weight), **options)
    np.testing.assert_allclose(loss(**options)(target, scores, sample_weight), expected, rtol=1e-5, atol=1e-6)


@both
@settings(max_examples=30, deadline=None)
@given(batches())
def test_gradient_is_the_slope_of_the_formula(loss, formula, batch):
    target, scores, sample_weight, options = batch
    direction = np.random.default_rng(0).standard_normal(scores.shape) * scores
    _, gradient = value_and_gradient(loss(**options), target, scores, sample_weight)
    options = {**options, "sample_weight": per_pixel(sample_weight)}
    ahead, behind = (formula(target, scores + step * direction, **options) for step in (1e-5, -1e-5))
    np.testing.assert_allclose((gradient * direction).sum(), (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-4)


@each
@settings(max_examples=30, deadline=None)
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
@pytest.mark.parametrize("ignore", [(), (0,), (1, 255), (-1,)])
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
def test_shapes_that_do_not_fit_are_refused_when_known_at_run_time_only(loss, target):
    open_sizes = [
        tf.TensorSpec((None, None, None, *target[3:]), "int32"),
        tf.TensorSpec((None, None, None, 3)),
    ]
    function = tf.function(loss(), input_signature=open_sizes)
    with pytest.raises(tf.errors.InvalidArgumentError, match="differ in size"):
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
@pytest.mark.parametrize("weights", [[1, -1], [1, np.nan], [np.inf, 1], [0, 0], [[1, 2]], [], 1.0])
def test_bad_class_weights_are_refused(loss, weights):
    with pytest.raises(ValueError, match="class_weights must be one finite float >= 0 per class"):
        loss(class_weights=weights)


@each
@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("number", [3, 254, -1])
def test_an_id_that_is_no_class_never_passes(loss, from_logits, number):
    batch = np.array([[[0, 1, number]]]), np.full((1, 1, 3, 3), 0.5, "float32")
    compiled = tf.function(loss(from_logits=from_logits), jit_compile=True)
    assert np.isnan(compiled(*batch))
    if loss is CrossEntropy and from_logits:
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"label value of {number}"):
            loss()(*batch)
    else:
        assert np.isnan(loss(from_logits=from_logits)(*batch))


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


@pytest.mark.parametrize("combine", [lambda a: a + 1, lambda a: a * a, lambda a: a * True, lambda a: "2" * a])
def test_losses_combine_with_losses_and_numbers_only(combine):
    with pytest.raises(TypeError):
        combine(CrossEntropy())


@pytest.mark.parametrize(
    "loss",
    [
        CrossEntropy((0, 255), [1, 2], from_logits=False, name="mine"),
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


@each
@pytest.mark.parametrize("one_hot", [False, True])
def test_compiled_by_xla_it_is_the_same(loss, one_hot):
    _, target = example()
    target = np.asarray(kseg.one_hot(target, 2)) if one_hot else target
    scores = np.random.default_rng(0).standard_normal((4, 8, 6, 2)).astype("float32")
    expected = value_and_gradient(loss(), target, scores)

    @tf.function(jit_compile=True)
    def compiled(target, scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = loss()(target, scores)
        return value, tape.gradient(value, scores)

    for actual, value in zip(compiled(target, tf.constant(scores)), expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-7)


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
