"""Several labels per pixel: every metric against NumPy, and against each label as a mask of its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.metrics import (
    BoundaryF1,
    BoundaryIoU,
    ClassIoU,
    ConfusionMatrix,
    LabelCounts,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
)

ALL = [MeanIoU, MeanDice, PixelAccuracy, BoundaryIoU, BoundaryF1]


@st.composite
def several_batches(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = draw(st.integers(1, 4))
    void, share = draw(st.sampled_from([0, 0.3, 1])), draw(st.sampled_from([0, 0.4, 1]))
    batches = []
    for _ in range(draw(st.integers(1, 2))):
        size = *(draw(st.integers(1, n)) for n in (3, 7, 7)), labels
        mask = np.where(rng.random(size) < void, 255, rng.random(size) < share)
        mask = mask.astype(draw(st.sampled_from(["uint8", "int32", "float32"])))
        batches.append((mask, rng.random(size).round(2).astype("float32")))
    return labels, batches


# labels of zeros and void alone are drawn too; what is said of them stands in test_in_fit.py
pytestmark = pytest.mark.filterwarnings("ignore:.*class 0 and void")


def counts_of(batches):
    """Per label: pixels of both, of the truth, of the prediction, and all that are counted."""
    counts = np.zeros((4, batches[0][0].shape[-1]), "int64")
    for mask, scores in batches:
        valid = mask != 255
        true, predicted = valid & (mask == 1), valid & (scores > 0.5)
        counts += [x.sum((0, 1, 2)) for x in (true & predicted, true, predicted, valid)]
    return counts


def updated(metric, batches):
    for mask, scores in batches:
        metric.update_state(mask, scores)
    return metric


def share(part, whole):
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def mean(shares):
    return 0.0 if np.isnan(shares).all() else np.nanmean(shares)


@settings(max_examples=40, deadline=None)
@given(several_batches(), st.booleans())
def test_every_number_is_that_of_counts_in_numpy(data, from_logits):
    labels, batches = data
    both, true, predicted, counted = counts_of(batches)
    iou, dice = share(both, true + predicted - both), share(2 * both, true + predicted)
    numpys = LabelCounts(labels)
    for mask, scores in batches:
        numpys.add(mask, scores > 0.5)
    np.testing.assert_allclose(numpys.iou, iou)
    if from_logits:
        batches = [(mask, scores - 0.5) for mask, scores in batches]

    def of(metric, *arguments):
        return updated(metric(labels, *arguments, from_logits=from_logits, multilabel=True), batches)

    np.testing.assert_array_equal(of(MeanIoU).counts, [both, true, predicted, counted])
    np.testing.assert_allclose(of(MeanIoU).class_iou(), iou, rtol=1e-6)
    np.testing.assert_allclose(of(MeanIoU).result(), mean(iou), rtol=1e-6)
    np.testing.assert_allclose(of(MeanDice).class_dice(), dice, rtol=1e-6)
    np.testing.assert_allclose(of(MeanDice).result(), mean(dice), rtol=1e-6)
    right = both + counted - (true + predicted - both)
    accuracy = right.sum() / counted.sum() if counted.any() else 0
    np.testing.assert_allclose(of(PixelAccuracy).result(), accuracy, rtol=1e-6)
    np.testing.assert_allclose(np.nan_to_num(numpys.accuracy), accuracy)
    for label in range(labels):
        np.testing.assert_allclose(of(ClassIoU, label).result(), np.nan_to_num(iou)[label], rtol=1e-6)


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF1])
@settings(max_examples=15, deadline=None)
@given(several_batches(), st.sampled_from([0.01, 0.2]))
def test_borders_are_those_of_each_label_as_a_mask_of_its_own(metric, data, tolerance):
    labels, batches = data

    def by_class(made):
        return np.asarray(made.class_iou() if metric is BoundaryIoU else made.class_f1())

    together = updated(metric(labels, tolerance=tolerance, from_logits=False, multilabel=True), batches)
    expected = []
    for label in range(labels):
        alone = metric(2, tolerance=tolerance)
        for mask, scores in batches:
            alone.update_state(mask[..., label].astype("int32"), (scores[..., label] > 0.5).astype("int32"))
        expected.append(by_class(alone)[1])
    np.testing.assert_allclose(by_class(together), expected, rtol=1e-6)
    np.testing.assert_allclose(together.result(), mean(np.array(expected)), rtol=1e-6)


def test_a_score_that_is_no_number_is_never_right():
    mask = np.array([[[[1, 0]]]])
    metric = MeanIoU(2, multilabel=True)
    metric.update_state(mask, np.full((1, 1, 1, 2), np.nan, "float32"))
    np.testing.assert_array_equal(metric.counts, [[0, 0], [1, 0], [0, 1], [1, 1]])
    accuracy = PixelAccuracy(2, multilabel=True)
    accuracy.update_state(mask, np.full((1, 1, 1, 2), np.nan, "float32"))
    assert float(accuracy.result()) == 0


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("wrong", [2, 128, -1])
def test_values_that_are_no_label_never_pass(metric, wrong):
    mask, scores = np.zeros((1, 2, 2, 3), "int32"), np.zeros((1, 2, 2, 3), "float32")
    mask[0, 1, 1, 2] = wrong
    for call in (m.update_state for m in (metric(3, multilabel=True), metric(3, multilabel=True))):
        with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="must hold 0, 1 or void"):
            call(mask, scores)
    numpys = LabelCounts(3)
    numpys.add(mask, scores)
    assert numpys.outside == 1 and numpys.counted.tolist() == [4, 4, 3]


@pytest.mark.parametrize("metric", ALL)
def test_values_that_are_no_label_are_counted_under_xla(metric):
    mask, scores = np.zeros((1, 2, 2, 3), "int32"), np.zeros((1, 2, 2, 3), "float32")
    mask[0, 0, 1], mask[0, 1, 1, 2] = (2, 255, 128), -1
    compiled = metric(3, multilabel=True)
    tf.function(compiled.update_state, jit_compile=True)(mask, scores)
    assert int(compiled.outside) == 3


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("mask", "scores"), [((2, 4, 5), 3), ((2, 4, 5, 1), 3), ((2, 5, 4, 3), 3), ((2, 4, 5, 2), 2)]
)
def test_shapes_that_do_not_fit_are_refused(metric, mask, scores):
    with pytest.raises(ValueError, match=r"with multilabel=True y_true must be|has num_classes=3"):
        metric(3, multilabel=True).update_state(
            np.zeros(mask, "int32"), np.zeros((2, 4, 5, scores), "float32")
        )
    with pytest.raises(ValueError, match="several labels per pixel are"):
        LabelCounts(3).add(np.zeros(mask, "int32"), np.zeros((2, 4, 5, scores)))


@pytest.mark.parametrize("ignore", [0, 1, (1, 255)])
def test_void_is_neither_0_nor_1(ignore):
    for make in (lambda: MeanIoU(3, ignore, multilabel=True), lambda: LabelCounts(3, ignore)):
        with pytest.raises(ValueError, match=r"names \[[01]\] of the classes 0\.\.1"):
            make()


def test_what_has_no_meaning_for_labels_is_refused():
    with pytest.raises(ValueError, match="use MeanIoU or ClassIoU with multilabel=True"):
        ConfusionMatrix(3, multilabel=True)
    with pytest.raises(ValueError, match="by_class=False is for one class per pixel"):
        BoundaryF1(3, by_class=False, multilabel=True)
    with pytest.raises(ValueError, match="num_classes must be an int of 1 or more"):
        MeanIoU(0, multilabel=True)


@pytest.mark.parametrize("metric", ALL)
def test_the_config_keeps_it_and_xla_and_open_sizes_agree(metric):
    made = metric(3, multilabel=True)
    rng = np.random.default_rng(0)
    mask = rng.choice([0, 1, 255], (2, 9, 8, 3)).astype("int32")
    scores = rng.standard_normal((2, 9, 8, 3)).astype("float32")
    opened = [tf.TensorSpec((None, None, None, 3), "int32"), tf.TensorSpec((None, None, None, 3))]
    made.update_state(mask, scores)
    for options in ({"jit_compile": True}, {"input_signature": opened}):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
        assert again.multilabel is True and again.get_config() == made.get_config()
        tf.function(again.update_state, **options)(mask, scores)
        assert 0 < float(again.result()) == float(made.result())


def test_fit_names_every_label_on_one_device_and_on_two():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype("float32")
    mask = rng.choice([0, 1, 255], (3, 8, 8, 2)).astype("uint8")
    logs = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        keras.utils.set_random_seed(0)
        with kseg.strategy(devices).scope():
            model = kseg.build_conv_stack(2, (8, 8, 3), depth=1, filters=2, normalization=None)
            loss = kseg.losses.CrossEntropy(multilabel=True) + kseg.losses.Dice(multilabel=True)
            loss = loss + kseg.losses.Lovasz(multilabel=True) + kseg.losses.OhemCrossEntropy(multilabel=True)
            metrics = [
                MeanIoU(2, class_names=["red", "wet"], multilabel=True),
                BoundaryF1(2, multilabel=True),
            ]
            model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics)
        data = tf.data.Dataset.from_tensor_slices((images, mask)).batch(3)
        logs.append(model.fit(data, epochs=2, shuffle=False, verbose=0).history)
    assert set(logs[0]) == {"loss", "mean_iou", "pixels_outside", "iou_red", "iou_wet", "boundary_f1"}
    for key, values in logs[0].items():
        np.testing.assert_allclose(logs[1][key], values, rtol=1e-5, err_msg=key)
