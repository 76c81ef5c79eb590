"""Scores and intervals of an evaluation against the metrics, loops and closed forms."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg import metrics
from kseg.evaluation import Evaluation
from kseg.evaluation.counting import Tally
from kseg.evaluation.judging import Judge, _of_chosen
from kseg.evaluation.report import report_html
from kseg.evaluation.scores import intervals_of, scores_of
from kseg.inference import Predictor, as_probabilities, open_model

RNG = np.random.default_rng(0)


def ids_model(classes, multilabel=False):
    """Return a model whose scores are the channels of its picture; so pictures tell what it predicts."""
    image = keras.Input((None, None, classes))
    conv = keras.layers.Conv2D(classes, 1)
    model = keras.Model(image, conv(image))
    conv.set_weights([np.eye(classes)[None, None] / 8, np.full(classes, -8.0)])
    if multilabel:
        kseg.compile(model, multilabel=True)
    return model


def scenes(count=5, size=(31, 44), classes=3, seed=0):
    """Return pictures of scores, masks with void, and the ids that are predicted."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, classes, (count, 6, 6))
    masks = small.repeat(8, 1).repeat(8, 2)[:, : size[0], : size[1]]
    images = rng.integers(0, 160, (count, *size, classes)) + 90 * np.eye(classes, dtype=int)[masks]
    masks[:, :2] = 255
    return np.minimum(images, 255).astype("uint8"), masks.astype("int32"), images.argmax(-1)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_score_is_that_of_the_metrics(batch_size):
    images, masks, _ = scenes()
    data = [(images[i : i + batch_size], masks[i : i + batch_size]) for i in range(0, 5, batch_size)]
    result = kseg.evaluate(ids_model(3), data)
    predicted = (images / 8).argmax(-1).astype("int32")
    expected = {
        "mean_iou": metrics.MeanIoU(3),
        "mean_dice": metrics.MeanDice(3),
        "pixel_accuracy": metrics.PixelAccuracy(3),
        "mean_boundary_iou": metrics.BoundaryIoU(3),
        "mean_boundary_f1": metrics.BoundaryF1(3),
    }
    for name, metric in expected.items():
        metric.update_state(masks, predicted)
        assert getattr(result, name) == pytest.approx(float(metric.result()), rel=1e-5), name
    np.testing.assert_allclose(result.class_boundary_iou, expected["mean_boundary_iou"].class_iou(), 1e-5)
    np.testing.assert_allclose(result.class_boundary_f1, expected["mean_boundary_f1"].class_f1(), 1e-5)
    counted = masks != 255
    for index in range(3):
        true, found = counted & (masks == index), counted & (predicted == index)
        assert result.support[index] == true.sum()
        assert result.class_precision[index] == pytest.approx((true & found).sum() / found.sum())
        assert result.class_recall[index] == pytest.approx((true & found).sum() / true.sum())
        assert result.class_share[index] == pytest.approx(true.sum() / counted.sum())
    assert result.mean_accuracy == pytest.approx(result.class_recall.mean())
    weighted = (result.class_iou * result.class_share).sum()
    assert result.frequency_weighted_iou == pytest.approx(weighted)
    for name in ("mean_iou", "pixel_accuracy"):  # two ways to the same number
        assert getattr(result, name) == pytest.approx(float(result.scores[name]))


def test_several_labels_have_the_scores_of_the_metrics():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 20, 30, 2)).astype("uint8")
    masks = rng.choice([0, 1, 255], (3, 20, 30, 2), p=[0.6, 0.3, 0.1]).astype("int32")
    result = kseg.evaluate(ids_model(2, multilabel=True), [(images, masks)])
    scores = (images / 8.0 - 8).astype("float32")
    for name, kind in {
        "mean_iou": metrics.MeanIoU,
        "mean_dice": metrics.MeanDice,
        "pixel_accuracy": metrics.PixelAccuracy,
        "mean_boundary_iou": metrics.BoundaryIoU,
        "mean_boundary_f1": metrics.BoundaryF1,
    }.items():
        metric = kind(2, multilabel=True)
        metric.update_state(masks, scores)
        assert getattr(result, name) == pytest.approx(float(metric.result()), rel=1e-5), name
    assert result.pixel_accuracy == pytest.approx(float(result.scores["pixel_accuracy"]))
    on = 1 / (1 + np.exp(-scores.astype("float64")))
    sure, right = np.maximum(on, 1 - on), (scores > 0) == (masks == 1)
    assert result.calibration_error == pytest.approx(error_of(sure[masks < 255], right[masks < 255]), 1e-3)
    assert result.calibration.counts.sum() == (masks < 255).sum()


def error_of(confidence, right):
    """The expected calibration error, bin after bin."""
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_the_calibration_error_is_that_of_bins_one_by_one():
    images, masks, _ = scenes(classes=4)
    result = kseg.evaluate(ids_model(4), [(images, masks)])
    exps = np.exp(images / 8.0 - (images / 8.0).max(-1, keepdims=True))
    sure, right = (exps / exps.sum(-1, keepdims=True)).max(-1), images.argmax(-1) == masks
    assert result.calibration_error == pytest.approx(error_of(sure[masks < 255], right[masks < 255]), 1e-3)
    assert result.calibration.right.sum() == np.trace(result.matrix)


def test_one_channel_is_as_sure_of_what_it_denies():
    pictures = RNG.integers(0, 256, (2, 9, 11, 1)).astype("uint8")
    masks = RNG.integers(0, 2, (2, 9, 11))
    result = kseg.evaluate(ids_model(1), [(pictures, masks)])
    on = 1 / (1 + np.exp(8 - pictures[..., 0] / 8.0))
    right = (on > 0.5) == (masks == 1)
    assert result.calibration_error == pytest.approx(error_of(np.maximum(on, 1 - on), right), 1e-3)


def test_without_scores_there_is_no_calibration():
    """Ids hold no confidence; scores of which nothing tells what they are, neither."""
    image = keras.Input((None, None, 3))
    unknown = keras.Model(image, keras.layers.Rescaling(0.125)(image))
    images, masks, _ = scenes()
    result = kseg.evaluate(unknown, [(images, masks)])
    assert result.calibration is None and result.calibration_error is None
    assert result.mean_iou == kseg.evaluate(ids_model(3), [(images, masks)]).mean_iou
    assert kseg.evaluate(unknown, [(images, masks)], activation="linear").calibration is not None


def test_boundaries_may_be_left_out():
    images, masks, _ = scenes()
    result = kseg.evaluate(ids_model(3), [(images, masks)], boundaries=False)
    assert result.class_boundary_iou is result.mean_boundary_f1 is None
    assert "boundary" not in str(result) and "mean_boundary_f1" not in result.intervals
    assert result.mean_iou == kseg.evaluate(ids_model(3), [(images, masks)]).mean_iou


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.integers(2, 5))
def test_intervals_are_those_of_pictures_drawn_one_by_one(seed, pictures, classes):
    rng = np.random.default_rng(seed)
    matrices = rng.integers(0, 20, (pictures, classes, classes)) * (rng.random((pictures, classes, 1)) < 0.6)
    areas = np.stack(
        [
            np.diagonal(matrices, axis1=1, axis2=2),
            matrices.sum(2),
            matrices.sum(1),
            np.broadcast_to(matrices.sum((1, 2))[:, None], (pictures, classes)),
        ],
        axis=1,
    )
    found = intervals_of(areas, None, None, False, resamples=200, seed=seed)
    draws = np.random.default_rng(seed).multinomial(pictures, np.full(pictures, 1 / pictures), 200)
    means, accuracies, firsts = [], [], []
    for draw in draws:
        total = sum(int(times) * matrix for times, matrix in zip(draw, matrices, strict=True))
        result = Evaluation(total, [str(i) for i in range(classes)])
        means.append(result.mean_iou)
        firsts.append(result.class_iou[0])
        accuracies.append(np.trace(total) / total.sum() if total.sum() else np.nan)
    for name, values in (("mean_iou", means), ("pixel_accuracy", accuracies)):
        if np.isfinite(values).any():
            np.testing.assert_allclose(found[name], np.nanpercentile(values, [2.5, 97.5]), err_msg=name)
    if np.isfinite(firsts).any():
        np.testing.assert_allclose(found["class_iou"][0], np.nanpercentile(firsts, [2.5, 97.5]))


def test_an_interval_is_about_two_standard_errors():
    """Pictures of one size, each right by a share of its own: the error of their mean is known."""
    right = np.random.default_rng(3).integers(300, 900, 400)
    areas = np.zeros((400, 4, 2), "int64")
    areas[:, 0, 0], areas[:, 1, 0], areas[:, 2], areas[:, 3] = right, 1000, 500, 1000
    low, high = intervals_of(areas, None, None, False)["pixel_accuracy"]
    half = 1.96 * right.std() / 1000 / np.sqrt(400)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < right.mean() / 1000 < high


def test_equal_pictures_have_no_spread_and_one_picture_no_interval():
    images, masks, _ = scenes(1)
    result = kseg.evaluate(ids_model(3), [(images, masks)] * 4)
    low, high = result.intervals["mean_iou"]
    assert low == pytest.approx(result.mean_iou) and high == pytest.approx(result.mean_iou)
    assert kseg.evaluate(ids_model(3), [(images, masks)]).intervals is None
    assert Evaluation(result.matrix, result.class_names).intervals is None


def test_intervals_of_a_block_are_those_of_all_at_once(monkeypatch):
    areas = RNG.integers(1, 50, (30, 4, 3))
    areas[:, 0] = np.minimum(areas[:, 0], areas[:, 1:3].min(1))
    whole = intervals_of(areas, None, None, False)
    monkeypatch.setattr("kseg.evaluation.scores._AT_ONCE", 100)
    parts = intervals_of(areas, None, None, False)
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name])


def test_a_class_that_no_picture_has_is_named():
    images, masks, _ = scenes()
    masks[masks == 2] = 255
    result = kseg.evaluate(ids_model(3), [(images, masks)], class_names=["a", "b", "zebra"])
    assert result.absent == ["zebra"] and np.isnan(result.class_recall[2]) and result.class_iou[2] == 0
    assert "without a pixel in the truth: zebra" in str(result)
    several = kseg.evaluation.table({"one": result, "two": result})
    assert "without a pixel in the truth: zebra" in several and several.splitlines()[0].split() == [
        "one",
        "two",
    ]


def test_scores_of_many_counts_are_those_of_each():
    areas = RNG.integers(0, 50, (7, 4, 3))
    bands, borders = RNG.integers(0, 9, (7, 3, 3)), RNG.integers(0, 9, (7, 4, 3))
    together = scores_of(areas, bands, borders, True)
    for index in range(7):
        for name, value in scores_of(areas[index], bands[index], borders[index], True).items():
            np.testing.assert_allclose(together[name][index], value)


@pytest.mark.parametrize("show", [kseg.evaluation.table, report_html])
def test_other_classes_are_not_shown_side_by_side(show):
    matrix = np.array([[3, 1], [0, 4]])
    one, other = Evaluation(matrix, ["a", "b"]), Evaluation(matrix, ["b", "a"])
    with pytest.raises(ValueError, match=r"'x' has 2 classes, a, b, ..., and 'y' 2, b, a, ...; show"):
        show({"x": one, "y": other})
    with pytest.raises(ValueError, match="evaluations is empty"):
        show({})
    assert show({"x": one, "y": one})


def test_windows_views_and_averages_score_what_predict_gives(tmp_path):
    scenes = kseg.data.shapes(3, (40, 48), batch_size=1, shuffle=False)
    models = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        models.append(kseg.build_unet(6, filters=2))
    options = {"window": (24, 24), "overlap": 0.25, "tta": "flip"}
    for each, how in ((models[0], options), (models, {}), (models[0], {"crf": True})):
        found = kseg.evaluate(each, scenes, **how)
        counts = kseg.metrics.Confusion(6)
        sure = []
        for images, masks in scenes.as_numpy_iterator():
            counts.add(masks[0], kseg.predict(each, images[0], **how))
            sure.append(kseg.predict(each, images[0], output_kind="confidence", **how))
        np.testing.assert_array_equal(found.matrix, counts.matrix)
        confidence = np.mean(sure)
        edges = found.calibration.confidences.sum() / found.calibration.counts.sum()
        assert edges == pytest.approx(confidence, abs=1e-5)
    assert found.facts["crf"] == {}


@pytest.mark.parametrize("from_logits", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (2, 90, 101, 5)])
def test_the_confidence_is_the_probability_of_what_is_chosen(from_logits, shape):
    scores = np.random.default_rng(0).normal(0, 9, shape).astype("float32")
    scores = scores if from_logits else np.abs(scores) / 30
    found = _of_chosen(scores, scores.argmax(-1), from_logits)
    np.testing.assert_allclose(found, as_probabilities(scores, from_logits).max(-1), rtol=1e-5)


def test_a_batch_goes_through_the_model_once():
    images, _, _ = scenes(4)
    runner, shapes = open_model(ids_model(3)), []

    def run(pictures):
        shapes.append(pictures.shape)
        return runner.run(pictures)

    judge = Judge(Predictor((dataclasses.replace(runner, run=run),)))
    judged = [judge(images[:3]), judge(images[3:])]
    assert shapes == [(3, 31, 44, 3), (1, 31, 44, 3)]
    np.testing.assert_array_equal(np.concatenate([each.ids for each in judged]), images.argmax(-1))
    assert all(each.seconds > 0 for each in judged)


def test_pictures_of_several_sizes_and_what_is_no_class_count_as_in_the_metrics():
    """Of a file that gives ids, some of them no class: they are misses, and borders of no class."""
    rng = np.random.default_rng(4)
    tally, expected = Tally(3, 255, False, True), [metrics.MeanIoU(3), metrics.BoundaryF1(3)]
    for size in ((5, 9), (40, 31), (1, 1)):
        mask, predicted = (rng.integers(0, high, (1, *size)).astype("int32") for high in (3, 5))
        predicted[predicted == 4] = -1
        tally.add(mask, predicted, None)
        for metric in expected:
            metric.update_state(mask, predicted)
    pictures = tally.pictures(["a", "b", "c"], [0.1, 0.2, 0.3])
    result = Evaluation(tally.counter.matrix, ["x", "y", "z"], missed=tally.counter.missed, pictures=pictures)
    assert result.missed.sum() > 0 and result.latency_ms == pytest.approx(200)
    assert result.mean_iou == pytest.approx(float(expected[0].result()), 1e-5)
    assert result.mean_boundary_f1 == pytest.approx(float(expected[1].result()), 1e-5)


def test_a_notebook_shows_the_table_and_names_as_text():
    shown = Evaluation(np.eye(2, dtype=int), ["<script>", "b"])._repr_html_()
    assert shown.startswith("<pre>") and "&lt;script&gt;" in shown and "<script>" not in shown


def test_an_evaluation_is_named_on_one_line():
    shown = repr(Evaluation(np.diag([3, 1, 0]), ["a", "b", "c"], pixels_outside=2))
    assert shown == "<Evaluation of 3 classes: mean IoU 1.0000>"
    assert "nan" in repr(Evaluation(np.zeros((1, 1), int), ["a"]))
