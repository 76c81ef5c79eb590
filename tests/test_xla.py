"""What XLA compiles inside of a step: when it does, and that the loss and the metric stay the same."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.losses import CrossEntropy, Dice, Focal, Lovasz
from kseg.metrics import MeanIoU
from kseg.xla import fused

SIZE = (128, 128)


def specification(*shape, dtype="float32"):
    return tf.TensorSpec(shape, dtype)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((None, 128, 128, 3), 1),
        ((2, 64, 256, 3), 1),
        ((None, 127, 128, 3), 2),
        ((None, None, 128, 3), 2),
        ((None, None, None, 3), 2),
    ],
)
def test_xla_compiles_for_large_pictures_of_known_size(shape, expected):
    chosen = fused(lambda x: tf.ones([]), otherwise=lambda x: 2 * tf.ones([]))
    assert chosen(tf.zeros([2, 128, 128, 3])) == 2  # outside of a graph
    graph = tf.function(chosen, input_signature=[specification(*shape)])
    assert graph(tf.zeros([1 if side is None else side for side in shape])) == expected


def batch(seed=0, classes=5):
    rng = np.random.default_rng(seed)
    target = rng.choice([*range(classes), 255], (2, *SIZE)).astype("int32")
    return target, 3 * rng.standard_normal((2, *SIZE, classes)).astype("float32")


def in_graph(function, size):
    """Return `function` of a mask and scores in a graph that knows their size, or does not."""
    signature = [specification(None, *size, dtype=tf.int32), specification(None, *size, 5)]
    return tf.function(function, input_signature=signature)


WEIGHTS = [1, 2, 3, 0, 5]
CASES = list(itertools.product([CrossEntropy, Focal], [None, WEIGHTS], [False, True]))
# Half of them hold every pair.
QUICK = [case for case in CASES if (case[0] is Focal) ^ (case[1] is None) ^ case[2]]


@pytest.mark.parametrize(
    ("loss", "weights", "far"),
    [pytest.param(*case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES],
)
def test_losses_are_those_without_xla(loss, weights, far):
    target, scores = batch()
    scores[1, 3, 4] += 1e4 * far  # which shifts the whole batch
    scores[1, 3, 4, 0] -= 60 * far

    def value_and_slope(target, scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = loss(class_weights=weights)(target, scores)
        return value, tape.gradient(value, scores)

    fast, plain = (in_graph(value_and_slope, size)(target, scores) for size in (SIZE, (None, None)))
    np.testing.assert_allclose(fast[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(fast[1], plain[1], rtol=1e-5, atol=1e-10)
    assert np.isfinite(fast[0])


def test_the_matrix_is_that_without_xla():
    target, scores = batch()
    scores[:, :40] = np.round(scores[:, :40])  # ties
    scores[:, 50:60, :, 2] = np.nan
    scores[:, 60:70, :, 3] = np.inf
    scores[:, 70:80, :, 0] = -np.inf
    scores[:, 80:90] = np.array([0.0, -0.0, -1, -1, 0.0])
    metrics = []
    for size in (SIZE, (None, None)):
        metrics.append(MeanIoU(5))
        in_graph(metrics[-1].update_state, size)(target, scores)
    fast, plain = metrics
    np.testing.assert_array_equal(fast.matrix, plain.matrix)
    for missed in (fast.missed, plain.missed):
        assert np.asarray(missed).sum() == (target[:, 50:60] != 255).sum()
    assert int(fast.outside) == int(plain.outside) == 0
    assert np.asarray(fast.matrix)[:, 0].sum() >= (target[:, 80:90] != 255).sum()


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bfloat16"])
def test_the_matrix_is_that_without_xla_for_scores_of_any_dtype(dtype):
    target, scores = batch()
    scores = tf.cast(np.clip(8 * scores, 0, 127), dtype)
    metrics = []
    for size in (SIZE, (None, None)):
        signature = [specification(None, *size, dtype=tf.int32), specification(None, *size, 5, dtype=dtype)]
        metrics.append(MeanIoU(5))
        tf.function(metrics[-1].update_state, input_signature=signature)(target, scores)
    np.testing.assert_array_equal(*(metric.matrix for metric in metrics))
    assert np.asarray(metrics[0].matrix).sum() == (target != 255).sum()


@pytest.mark.parametrize(
    ("loss", "wrong"),
    [
        (None, 7),
        (CrossEntropy() + 0.5 * Lovasz(), -1),
        *(pytest.param(None, wrong, marks=pytest.mark.slow) for wrong in (3, -1)),
        pytest.param(Dice(), 7, marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow_after(1)
def test_a_mask_out_of_range_shows_in_a_fit_compiled_by_xla(loss, wrong):
    """No operation stops a program of XLA: the loss is no number, and the metric says why."""
    images, masks = np.zeros((4, 8, 8, 3), "uint8"), np.zeros((4, 8, 8), "int32")
    masks[0, :2] = 255
    model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2, normalization=None)
    kseg.compile(model, loss=loss, optimizer="sgd", class_names=["a", "b", "c"], jit_compile=True)
    right = model.fit(images, masks, batch_size=2, shuffle=False, verbose=0).history
    assert np.isfinite(right["loss"][0]) and right["pixels_outside"] == [0]
    masks[3, 4:, 5] = wrong
    start = model.get_weights()
    with pytest.warns(UserWarning, match=r"4 pixels of the masks hold .*under XLA the loss is then NaN"):
        logs = model.fit(images, masks, batch_size=2, shuffle=False, verbose=0).history
    assert np.isnan(logs["loss"][0]) and logs["pixels_outside"] == [4]
    assert all(np.isfinite(weight).all() for weight in model.get_weights())  # the step moves nothing
    assert not all(np.array_equal(*pair) for pair in zip(start, model.get_weights(), strict=True))
    assert np.isnan(model.evaluate(images, masks, batch_size=2, verbose=0, return_dict=True)["loss"])


def test_xla_on_several_devices_is_refused():
    images, masks = np.zeros((4, 8, 8, 3), "uint8"), np.zeros((4, 8, 8), "int32")
    with kseg.strategy(["CPU:0", "CPU:1"]).scope():
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2, normalization=None)
        kseg.compile(model, optimizer="sgd", jit_compile=True)
    for verb in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="jit_compile=True is for one device, and the strategy has 2"):
            verb(images, masks, verbose=0)
    with kseg.strategy(["CPU:0", "CPU:1"]).scope():
        kseg.compile(model, optimizer="sgd")  # "auto" is no XLA, with GPUs too
    assert np.isfinite(model.fit(images, masks, verbose=0).history["loss"][0])


def test_the_strategy_of_one_device_trains_under_xla():
    images, masks = np.zeros((4, 8, 8, 3), "uint8"), np.zeros((4, 8, 8), "int32")
    with kseg.strategy(["CPU:0"]).scope():
        model = kseg.build_conv_stack(3, (8, 8, 3), depth=1, filters=2)
        kseg.compile(model, optimizer=keras.optimizers.SGD(0.1), jit_compile=True)
    assert np.isfinite(model.fit(images, masks, verbose=0).history["loss"][0])
