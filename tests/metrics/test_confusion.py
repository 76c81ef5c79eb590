import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.metrics import (
    ClassIoU,
    Confusion,
    ConfusionMatrix,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
    iou_of,
)

# masks here hold such ids on purpose; what is said of them stands in test_in_fit.py
pytestmark = pytest.mark.filterwarnings("ignore:.*neither a class nor void")


def scores_for(predicted, classes):
    """Scores whose arg-max is `predicted`."""
    noise = np.random.default_rng(0).random((*predicted.shape, classes))
    return (noise + 2 * np.eye(classes)[predicted]).astype("float32")


def count(batches, classes, void=(255,)):
    """The matrix, the pixels missed and those outside, one pixel after the other."""
    matrix, missed, outside = np.zeros((classes, classes), "int64"), np.zeros(classes, "int64"), 0
    for mask, predicted in batches:
        for true, guess in zip(mask.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            if true in void:
                continue
            if not 0 <= true < classes:
                outside += 1
            elif 0 <= guess < classes:
                matrix[true, guess] += 1
            else:
                missed[true] += 1
    return matrix, missed, outside


def ious(matrix, missed=0):
    hits = np.diag(matrix)
    unions = matrix.sum(0) + matrix.sum(1) + missed - hits
    return np.array([hit / union if union else np.nan for hit, union in zip(hits, unions, strict=True)])


def updated(metric, *batches):
    for mask, predicted in batches:
        metric.update_state(mask, predicted)
    return metric


# Draws of two classes may hold class 0 and void alone.
two_classes_at_times = pytest.mark.filterwarnings("ignore:the masks seen so far")


@st.composite
def several_batches(draw, outside=False):
    """Batches of masks with void, with ids outside and with absent classes, and predictions, outside too."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 6))
    present = draw(st.integers(1, classes))
    extra = draw(st.sampled_from([[], [255], [255, 255, 255], [255, classes, 254], [-1, 255]]))
    beyond = [-1, classes, 255] if outside and draw(st.booleans()) else []
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        size = tuple(draw(st.integers(1, n)) for n in (3, 6, 6))
        dtype = draw(st.sampled_from(["int32", "int64"] + ["uint8"] * (-1 not in extra)))
        mask = rng.choice([*range(present), *extra], size).astype(dtype)
        mask = mask[..., None] if draw(st.booleans()) else mask
        predicted = rng.choice([*range(present), *beyond], size)
        batches.append((mask, predicted))
    return classes, batches


@two_classes_at_times
@settings(max_examples=60, deadline=None)
@given(several_batches())
def test_matrix_and_mean_are_those_of_a_count_pixel_by_pixel(data):
    classes, batches = data
    matrix, _, outside = count(batches, classes)
    metric = updated(MeanIoU(classes), *[(mask, scores_for(p, classes)) for mask, p in batches])
    np.testing.assert_array_equal(metric.matrix, matrix)
    assert int(metric.outside) == outside
    np.testing.assert_allclose(metric.class_iou(), ious(matrix), rtol=1e-6)
    mean = np.nanmean(ious(matrix)) if matrix.any() else 0
    np.testing.assert_allclose(metric.result(), mean, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(several_batches(outside=True))
def test_predicted_ids_and_numpys_confusion_count_the_same(data):
    classes, batches = data
    metric, confusion = updated(MeanIoU(classes), *batches), Confusion(classes)
    for mask, predicted in batches:
        confusion.add(mask, predicted)
    matrix, missed, outside = count(batches, classes)
    for each in (metric, confusion):
        np.testing.assert_array_equal(each.matrix, matrix)
        np.testing.assert_array_equal(each.missed, missed)
        assert int(each.outside) == outside
    np.testing.assert_allclose(confusion.iou, ious(matrix, missed))
    np.testing.assert_allclose(iou_of(matrix, missed), ious(matrix, missed))
    void = sum((mask == 255).sum() for mask, _ in batches)
    assert confusion.void == int(metric.pixels) - outside - confusion.true_counts.sum() == void
    np.testing.assert_array_equal(confusion.true_counts, metric.true_counts())


@two_classes_at_times
@settings(max_examples=30, deadline=None)
@given(several_batches(outside=True))
def test_the_other_numbers_of_a_matrix(data):
    classes, batches = data
    matrix, missed, _ = (np.asarray(x, "float64") for x in count(batches, classes))
    hits, true, predicted = np.diag(matrix), matrix.sum(1) + missed, matrix.sum(0)
    with np.errstate(invalid="ignore"):
        dice = 2 * hits / (true + predicted)
    seen = true.any() or predicted.any()
    metric = updated(MeanIoU(classes), *batches)
    np.testing.assert_allclose(metric.class_iou(), ious(matrix, missed), rtol=1e-6)
    np.testing.assert_allclose(metric.result(), np.nanmean(ious(matrix, missed)) if seen else 0, rtol=1e-6)
    metric = updated(MeanDice(classes), *batches)
    np.testing.assert_allclose(metric.class_dice(), dice, rtol=1e-6)
    np.testing.assert_allclose(metric.result(), np.nanmean(dice) if seen else 0, rtol=1e-6)
    accuracy = hits.sum() / max(true.sum(), 1)
    np.testing.assert_allclose(updated(PixelAccuracy(classes), *batches).result(), accuracy, rtol=1e-6)
    for target, iou in enumerate(np.nan_to_num(ious(matrix, missed))):
        np.testing.assert_allclose(updated(ClassIoU(classes, target), *batches).result(), iou, rtol=1e-6)
    np.testing.assert_array_equal(updated(ConfusionMatrix(classes), *batches).result(), matrix)
    totals = {"true": true[:, None], "predicted": predicted[None], "all": true.sum()}
    for normalize, total in totals.items():
        shares = np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
        got = updated(ConfusionMatrix(classes, normalize=normalize), *batches).result()
        np.testing.assert_allclose(got, shares, rtol=1e-6)


def test_a_prediction_that_is_no_class_is_a_miss():
    """Of both classes one of two pixels is found: 0.5, as keras.metrics counts with a third class."""
    truth, predicted = np.array([[[0, 0, 1, 1]]]), np.array([[[0, 2, 1, 2]]])
    metric, confusion = updated(MeanIoU(2), (truth, predicted)), Confusion(2)
    confusion.add(truth, predicted)
    keras_own = keras.metrics.IoU(3, target_class_ids=[0, 1])
    keras_own.update_state(truth, predicted)
    assert float(metric.result()) == confusion.iou.mean() == float(keras_own.result()) == 0.5
    assert int(metric.outside) == confusion.outside == 0
    assert float(updated(PixelAccuracy(2), (truth, predicted)).result()) == 0.5
    assert float(updated(ClassIoU(2, 1), (truth, predicted)).result()) == 0.5
    np.testing.assert_allclose(updated(MeanDice(2), (truth, predicted)).result(), 2 / 3, rtol=1e-6)


def test_the_others_count_pixels_outside_and_come_back_from_their_config():
    names = ["a", "b", "c"]
    metrics = [
        ConfusionMatrix(3, normalize="true", class_names=names),
        MeanDice(3, class_names=names),
        PixelAccuracy(3),
        ClassIoU(3, "b", class_names=names),
        ClassIoU(3, 2),
    ]
    batch = np.array([[[0, 1, 7, 255]]]), np.array([[[0, 1, 2, 0]]])
    for metric in metrics:
        assert int(updated(metric, batch).outside) == 1
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
        assert again.get_config() == metric.get_config() and again.name == metric.name
    assert set(metrics[1].result()) == {"mean_dice", "pixels_outside", "dice_a", "dice_b", "dice_c"}
    assert [metric.name for metric in metrics[3:]] == ["iou_b", "iou_2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target_class": "rod", "class_names": ["sky", "road"]}, "did you mean 'road'"),
        ({"target_class": "road"}, "unknown target_class 'road'; known: a name of class_names"),
        ({"target_class": 2}, "target_class must be one of 0..1"),
        ({"target_class": True}, "target_class must be one of 0..1"),
    ],
)
def test_a_class_that_is_not_there_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClassIoU(2, **arguments)


def test_keras_own_mean_is_the_same_where_no_id_is_outside():
    rng = np.random.default_rng(0)
    mask, scores = rng.choice([0, 1, 2, 3, 255], (2, 9, 8)), rng.random((2, 9, 8, 4)).astype("float32")
    keras_own = keras.metrics.MeanIoU(4, ignore_class=255, sparse_y_pred=False)
    keras_own.update_state(mask, scores)
    np.testing.assert_allclose(updated(MeanIoU(4), (mask, scores)).result(), keras_own.result(), rtol=1e-6)


def test_a_metric_never_updated_is_zero():
    metric = MeanIoU(3)
    assert float(metric.result()) == 0
    assert np.isnan(metric.class_iou()).all()


def test_a_class_that_never_appears_is_left_out_of_the_mean():
    mask = np.array([[[0, 2, 2]]])
    metric = updated(MeanIoU(4), (mask, mask))
    assert float(metric.result()) == 1
    np.testing.assert_array_equal(metric.class_iou(), [1, np.nan, 1, np.nan])


def test_reset_state_forgets_everything():
    metric = updated(MeanIoU(2), (np.array([[[0, 1, 7]]]), np.array([[[0, 0, 0]]])))
    metric.reset_state()
    assert not metric.matrix.numpy().any() and int(metric.outside) == 0


@pytest.mark.parametrize("ignore", [None, 7, (-1, 7)])
def test_ignore_class_names_no_one_or_several_ids(ignore):
    rng = np.random.default_rng(0)
    mask, predicted = rng.choice([0, 1, 2, 7, -1], (2, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    void = {None: (), 7: (7,)}.get(ignore, ignore)
    metric = updated(MeanIoU(3, ignore_class=ignore), (mask, predicted))
    np.testing.assert_array_equal(metric.matrix, count([(mask, predicted)], 3, void)[0])


@pytest.mark.parametrize("ignore", [0, 2, (2, 255), np.array([1])])
def test_void_among_the_classes_is_an_error(ignore):
    for make in (MeanIoU, ConfusionMatrix, Confusion):
        with pytest.raises(ValueError, match=r"ignore_class=.* names \[[012]\] of the classes 0\.\.2"):
            make(3, ignore_class=ignore)


def test_the_default_void_is_none_for_more_than_255_classes():
    batch = np.array([[[255, 255, 299]]]), np.array([[[255, 0, 299]]])
    metric, confusion = updated(MeanIoU(300), batch), Confusion(300)
    confusion.add(*batch)
    assert metric.ignore_class is confusion.ignore_class is None
    assert int(metric.matrix[255, 255]) == confusion.matrix[255, 255] == 1 and confusion.void == 0


@pytest.mark.parametrize(("mask", "predicted"), [(-1, 0), (3, 0), (254, 0)])
def test_ids_outside_are_counted_and_kept_out_of_the_matrix(mask, predicted):
    batch = np.array([[[0, mask, 255]]]), np.array([[[0, predicted, 9]]])
    metric, confusion = updated(MeanIoU(3), batch), Confusion(3)
    confusion.add(*batch)
    for counts in (np.asarray(metric.matrix), confusion.matrix):
        assert counts[0, 0] == counts.sum() == 1
    assert int(metric.outside) == confusion.outside == 1


def test_one_hot_targets_count_like_their_ids():
    rng = np.random.default_rng(0)
    mask, scores = rng.choice([0, 1, 2, 255], (2, 4, 5)), rng.random((2, 4, 5, 3)).astype("float32")
    hot = np.asarray(kseg.one_hot(mask, 3))
    np.testing.assert_array_equal(
        updated(MeanIoU(3), (hot, scores)).matrix, updated(MeanIoU(3), (mask, scores)).matrix
    )


@pytest.mark.parametrize(("from_logits", "scores"), [(True, [-0.4, 0.4, 0.6]), (False, [0.3, 0.6, 0.9])])
def test_one_channel_is_binary(from_logits, scores):
    metric = MeanIoU(2, from_logits=from_logits)
    metric.update_state(np.array([[[0, 1, 0]]]), np.reshape(scores, (1, 1, 3, 1)).astype("float32"))
    np.testing.assert_array_equal(metric.matrix, [[1, 1], [0, 1]])


def test_counts_go_beyond_two_billion_pixels():
    metric = MeanIoU(2)
    metric.matrix.assign([[3 * 2**31, 2**31], [0, 2**33]])
    updated(metric, (np.array([[[0]]]), np.array([[[0]]])))
    np.testing.assert_array_equal(metric.matrix, [[3 * 2**31 + 1, 2**31], [0, 2**33]])
    np.testing.assert_allclose(metric.class_iou(), [0.75, 0.8], rtol=1e-6)


def test_compiled_by_xla_it_is_the_same():
    rng = np.random.default_rng(0)
    mask, scores = rng.choice([0, 1, 2, 5, 255], (2, 4, 5)), rng.random((2, 4, 5, 3)).astype("float32")
    metric = MeanIoU(3)
    tf.function(metric.update_state, jit_compile=True)(mask, scores)
    matrix, _, outside = count([(mask, scores.argmax(-1))], 3)
    np.testing.assert_array_equal(metric.matrix, matrix)
    assert int(metric.outside) == outside


def test_the_logs_of_fit_name_every_class_and_the_pixels_outside():
    rng = np.random.default_rng(0)
    images = rng.random((2, 4, 5, 3)).astype("float32")
    mask = np.where(rng.random((2, 4, 5)) < 0.5, 0, 7)
    model = kseg.build_conv_stack(2, depth=1, filters=2, normalization=None)
    model.compile(
        "sgd", lambda _, scores: keras.ops.mean(scores), metrics=[MeanIoU(2, class_names=["a", "b"])]
    )
    logs = model.fit(images, mask, validation_data=(images, mask), verbose=0).history
    names = {"mean_iou", "pixels_outside", "iou_a", "iou_b"}
    assert set(logs) == {"loss", "val_loss"} | names | {f"val_{name}" for name in names}
    assert logs["pixels_outside"] == logs["val_pixels_outside"] == [(mask == 7).sum()]
    predicted = np.asarray(kseg.to_mask(model(images)))
    matrix, _, _ = count([(mask, predicted)], 2)
    assert [logs["val_iou_a"][0], logs["val_iou_b"][0]] == pytest.approx(np.nan_to_num(ious(matrix)))
    assert logs["val_mean_iou"] == pytest.approx([np.nanmean(ious(matrix))])


def test_a_config_makes_the_same_metric():
    metric = MeanIoU(2, (254, 255), ["a", "b"], from_logits=False, name="iou")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()
    assert set(again.result()) == {"iou", "pixels_outside", "iou_a", "iou_b"}


@pytest.mark.parametrize(
    ("target", "scores"),
    [
        ((4, 5), (4, 5, 3)),
        ((1, 4, 5), (2, 4, 5, 3)),
        ((2, 1, 5), (2, 4, 5, 3)),
        ((2, 5, 4), (2, 4, 5, 3)),
        ((2, 4, 5, 2), (2, 4, 5, 3)),
        ((2, 4, 5), (2, 4, 5, 2)),
        ((2, 4, 5), (2, 4, 5, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(target, scores):
    with pytest.raises(ValueError, match=r"y_true must be ids|y_pred has \d channels"):
        MeanIoU(3).update_state(np.zeros(target, "int32"), np.zeros(scores, "float32"))


@pytest.mark.parametrize("target", [(1, 4, 5), (2, 1, 5), (2, 5, 4), (2, 4, 5, 3), (4, 5)])
def test_predicted_ids_of_another_size_are_refused(target):
    batch = np.zeros(target, "int32"), np.zeros((2, 4, 5), "int32")
    with pytest.raises(ValueError, match="y_true must be ids of that size"):
        MeanIoU(3).update_state(*batch)
    with pytest.raises(ValueError, match="differ in size"):
        Confusion(3).add(*batch)


def test_sizes_that_differ_are_refused_when_known_at_run_time_only():
    open_sizes = [tf.TensorSpec((None, None, None), "int32"), tf.TensorSpec((None, None, None, 3))]
    update = tf.function(MeanIoU(3).update_state, input_signature=open_sizes)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="differ in size"):
        update(np.zeros((2, 1, 5), "int32"), np.zeros((2, 4, 5, 3), "float32"))


def test_fractions_are_refused():
    mask, predicted = np.zeros((2, 4, 5)), np.zeros((2, 4, 5), "int32")
    for batch in [(mask, predicted), (predicted, mask)]:
        with pytest.raises(TypeError, match="integer class ids"):
            MeanIoU(3).update_state(*batch)
    with pytest.raises(TypeError, match="integer class ids"):
        Confusion(3).add(mask, predicted)


def test_sample_weights_are_refused():
    with pytest.raises(ValueError, match="takes no sample_weight"):
        MeanIoU(2).update_state(np.array([[[0]]]), np.array([[[0]]]), sample_weight=np.ones((1, 1, 1)))


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_classes": 1},
        {"num_classes": "3"},
        {"num_classes": 2.5},
        {"num_classes": 3, "class_names": ["a", "b"]},
        {"num_classes": 2, "class_names": ["a", "a"]},
        {"num_classes": 2, "class_names": "ab"},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match=r"num_classes|class_names must be a list of different names"):
        MeanIoU(**arguments)


def test_a_score_that_is_no_number_is_a_miss():
    scores = np.zeros((1, 1, 3, 3), "float32")
    scores[0, 0, :2] = np.nan
    metric = MeanIoU(3)
    metric.update_state(np.array([[[0, 255, 0]]]), scores)
    np.testing.assert_array_equal(metric.missed, [1, 0, 0])
    assert int(metric.outside) == 0 and float(metric.result()) == 0.5


@pytest.mark.parametrize("metric", [MeanIoU, PixelAccuracy, ConfusionMatrix])
@pytest.mark.parametrize("row", [(128, 64, 0), (1, 1, 0), (0.5, 0, 0)])
def test_rows_that_are_not_one_hot_never_pass(metric, row):
    target = np.eye(3)[[[[0, 1]]]]
    target[0, 0, 1] = row
    target = target.astype("uint8" if row[0] > 1 else "float32")
    scores = np.zeros((1, 1, 2, 3), "float32")
    for call in (metric(3).update_state, tf.function(metric(3).update_state)):
        with pytest.raises(
            (ValueError, tf.errors.InvalidArgumentError), match=r"(?s)one-hot or soft.*multilabel=True"
        ):
            call(target, scores)
    compiled = metric(3)
    tf.function(compiled.update_state, jit_compile=True)(target, scores)
    assert int(compiled.outside) == 1 and np.asarray(compiled.matrix).sum() == 1
