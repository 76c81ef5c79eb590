"""The boundary metrics against loops over pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.metrics import BoundaryF1, BoundaryIoU


def pixels_of(shape, tolerance):
    return max(1, round(tolerance * float(np.float32(np.hypot(*shape)))))


def near(y, x, shape, pixels):
    for row in range(max(0, y - pixels), min(shape[0], y + pixels + 1)):
        for column in range(max(0, x - pixels), min(shape[1], x + pixels + 1)):
            yield row, column


def on_border(ids, counted, pixels, with_edge):
    """Where another counted id, or the edge, lies within `pixels`."""
    found = np.zeros(ids.shape, bool)
    for y, x in np.argwhere(counted):
        height, width = ids.shape
        found[y, x] = with_edge and min(y, x, height - 1 - y, width - 1 - x) < pixels
        found[y, x] |= any(counted[at] and ids[at] != ids[y, x] for at in near(y, x, ids.shape, pixels))
    return found


def boundary_iou(batches, classes, tolerance):
    both, union = np.zeros(classes), np.zeros(classes)
    for masks, predictions in batches:
        for mask, predicted in zip(masks, predictions, strict=True):
            counted, pixels = mask != 255, pixels_of(mask.shape, tolerance)
            true_band = on_border(mask, counted, pixels, True)
            band = on_border(predicted, counted, pixels, True)
            for c in range(classes):
                a, b = true_band & (mask == c) & counted, band & (predicted == c) & counted
                both[c] += (a & b).sum()
                union[c] += (a | b).sum()
    return np.array([i / u if u else np.nan for i, u in zip(both, union, strict=True)])


def boundary_f1(batches, classes, tolerance):
    counts = np.zeros((4, classes))
    for masks, predictions in batches:
        for mask, predicted in zip(masks, predictions, strict=True):
            counted, pixels = mask != 255, pixels_of(mask.shape, tolerance)
            borders = [on_border(ids, counted, 1, False) for ids in (mask, predicted)]
            for c in range(classes):
                true, guess = (
                    border & (ids == c) & counted
                    for border, ids in zip(borders, (mask, predicted), strict=True)
                )
                for row, one, other in ((0, guess, true), (2, true, guess)):
                    counts[row, c] += one.sum()
                    counts[row + 1, c] += sum(
                        any(other[at] for at in near(y, x, mask.shape, pixels)) for y, x in np.argwhere(one)
                    )
    result = []
    for predicted, hit, true, found in counts.T:
        precision, recall = hit / max(predicted, 1), found / max(true, 1)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0
        result.append(f1 if predicted + true else np.nan)
    return np.array(result)


METRICS = [(BoundaryIoU, boundary_iou), (BoundaryF1, boundary_f1)]


@st.composite
def several_batches(draw):
    """Blocky masks with void and absent classes; predictions differ from them here and there, or are none."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes, batches, beyond = draw(st.integers(2, 4)), [], draw(st.integers(0, 1))
    ids = [*range(draw(st.integers(1, classes))), *draw(st.sampled_from([[], [255]]))]
    for _ in range(draw(st.integers(1, 2))):
        height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
        coarse = rng.choice(ids, (2, -(-height // 3), -(-width // 3)))
        mask = np.kron(coarse, np.ones((3, 3), int))[:, :height, :width].astype("int32")
        noise = rng.random(mask.shape) < draw(st.sampled_from([0.0, 0.05, 0.5]))
        predicted = np.where(noise | (mask == 255), rng.integers(0, classes + beyond, mask.shape), mask)
        batches.append((mask, predicted.astype("int32")))
    return classes, batches


@pytest.mark.parametrize(("metric", "oracle"), METRICS)
@pytest.mark.filterwarnings("ignore:the masks seen so far")  # draws of two classes
@settings(max_examples=15, deadline=None)
@given(data=several_batches(), tolerance=st.sampled_from([0.01, 0.1, 0.2]))
def test_every_class_is_that_of_loops_over_pixels(metric, oracle, data, tolerance):
    classes, batches = data
    got = metric(classes, tolerance=tolerance)
    for mask, predicted in batches:
        got.update_state(mask, predicted)
    expected = oracle(batches, classes, tolerance)
    by_class = got.class_iou() if metric is BoundaryIoU else got.class_f1()
    np.testing.assert_allclose(by_class, expected, rtol=1e-5)
    mean = 0.0 if np.isnan(expected).all() else np.nanmean(expected)
    np.testing.assert_allclose(got.result(), mean, rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(data=several_batches(), tolerance=st.sampled_from([0.01, 0.1]))
def test_borders_alone_are_those_of_loops_over_pixels(data, tolerance):
    classes, batches = data
    metric, counts = BoundaryF1(classes, tolerance=tolerance, by_class=False), np.zeros(4)
    for masks, predictions in batches:
        metric.update_state(masks, predictions)
        for mask, predicted in zip(masks, predictions, strict=True):
            counted, pixels = mask != 255, pixels_of(mask.shape, tolerance)
            guess, true = (on_border(ids, counted, 1, False) & counted for ids in (predicted, mask))
            guess &= predicted < classes
            for row, one, other in ((0, guess, true), (2, true, guess)):
                counts[row] += one.sum()
                counts[row + 1] += sum(
                    any(other[at] for at in near(y, x, mask.shape, pixels)) for y, x in np.argwhere(one)
                )
    np.testing.assert_array_equal(np.ravel(metric.counts), counts)


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1])
def test_open_sizes_scores_and_xla_count_the_same(metric):
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 2, 255], (2, 30, 40)).astype("int32")
    scores = rng.random((2, 30, 40, 3)).astype("float32")
    plain, opened, compiled = (metric(3, tolerance=0.05) for _ in range(3))
    plain.update_state(mask, scores.argmax(-1))
    specs = [tf.TensorSpec((None, None, None), "int32"), tf.TensorSpec((None, None, None, 3))]
    tf.function(opened.update_state, input_signature=specs)(mask, scores)
    tf.function(compiled.update_state, jit_compile=True)(mask, scores)
    assert 0 < plain.result() < 1
    assert float(plain.result()) == float(opened.result()) == float(compiled.result())


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1])
def test_names_config_and_logs(metric):
    made = metric(2, (254, 255), 0.05, class_names=["a", "b"], name="edge")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.get_config() == made.get_config()
    key = "boundary_iou" if metric is BoundaryIoU else "boundary_f1"
    assert set(again.result()) == {"edge", "pixels_outside", f"{key}_a", f"{key}_b"}
    images, mask = np.zeros((2, 8, 9, 3), "float32"), np.zeros((2, 8, 9), "int32")
    model = kseg.build_conv_stack(2, depth=1, filters=2)
    kseg.compile(model, metrics=[metric(2)])
    assert key in model.fit(images, mask, verbose=0).history


@pytest.mark.parametrize("tolerance", [0, 1, -0.1, "a", True])
def test_a_tolerance_is_a_share(tolerance):
    with pytest.raises(ValueError, match="tolerance must be a share of the diagonal"):
        BoundaryIoU(2, tolerance=tolerance)
