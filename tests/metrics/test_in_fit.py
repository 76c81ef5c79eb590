"""What Keras' callbacks and the end of an epoch ask of a metric: its direction, a word on void foreground."""

import copy
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kseg
from kseg.metrics import (
    BoundaryF1,
    BoundaryIoU,
    ClassIoU,
    Confusion,
    ConfusionMatrix,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
)
from kseg.metrics.arrays import warn_of_void_foreground

NAMES = ["sky", "road"]


def example(ids=(0, 1)):
    rng = np.random.default_rng(0)
    return rng.random((2, 6, 6, 3)).astype("float32"), rng.choice(ids, (2, 6, 6)).astype("uint8")


def compiled(*metrics, **options):
    keras.utils.set_random_seed(0)
    model = kseg.build_conv_stack(2, depth=1, filters=2, normalization=None)
    model.compile("sgd", kseg.losses.CrossEntropy(), metrics=list(metrics), **options)
    return model


MONITORS = {
    "val_mean_iou": lambda: MeanIoU(2, class_names=NAMES),
    "iou_road": None,  # of the metric before
    "val_iou_sky": None,
    "score": lambda: MeanIoU(2, name="score"),
    "val_dice_road": lambda: MeanDice(2, class_names=NAMES),
    "mean_dice": None,
    "val_boundary_iou_road": lambda: BoundaryIoU(2, class_names=NAMES),
    "boundary_f1_sky": lambda: BoundaryF1(2, class_names=NAMES),
    "val_pixel_accuracy": lambda: PixelAccuracy(2),
}
OF_ONE_CLASS = {"val_iou_road": lambda: ClassIoU(2, "road", class_names=NAMES)}


@pytest.mark.parametrize("monitors", [MONITORS, OF_ONE_CLASS], ids=["all", "one class"])
@pytest.mark.slow_after(1)
def test_callbacks_maximise_a_metric_and_its_entries(monitors):
    images, mask = example()
    callbacks = [
        make(monitor)
        for monitor in monitors
        for make in (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
    ]
    metrics = [metric() for metric in monitors.values() if metric]
    compiled(*metrics).fit(images, mask, validation_data=(images, mask), callbacks=callbacks, verbose=0)
    assert all(callback.monitor_op(2.0, 1.0) for callback in callbacks)


@pytest.mark.parametrize("monitor", ["val_pixels_outside", "val_iou_tree"])
def test_what_is_no_score_has_no_direction(monitor):
    images, mask = example()
    model = compiled(MeanIoU(2, class_names=NAMES))
    stop = keras.callbacks.EarlyStopping(monitor)
    with pytest.raises(ValueError, match="automatically determine"):
        model.fit(images, mask, validation_data=(images, mask), callbacks=[stop], verbose=0)


def test_a_name_that_answers_for_entries_is_still_a_name():
    metric = MeanIoU(2, class_names=NAMES)
    for name in (metric.name, copy.deepcopy(metric.name), pickle.loads(pickle.dumps(metric.name))):
        assert name == "mean_iou" and name == "iou_sky" and (name != "iou_sky") is False
        assert name != "iou_tree" and name != "pixels_outside" and name != 3
        assert {name: 1} == {"mean_iou": 1} and "iou_sky" not in {name: 1} and str(name) == "mean_iou"
    assert {type(key) for key in metric.result()} == {type(metric.get_config()["name"])} == {str}


@pytest.mark.parametrize(
    "metric", [MeanIoU, MeanDice, PixelAccuracy, ConfusionMatrix, BoundaryIoU, BoundaryF1]
)
@pytest.mark.parametrize("form", ["ids", "one-hot"])
def test_void_that_may_be_the_foreground_is_named_once(metric, form):
    _, mask = example((0, 255))
    made = metric(2)
    scores = np.zeros((2, 6, 6, 2), "float32")
    made.update_state(mask if form == "ids" else kseg.one_hot(mask, 2), scores)
    number = (mask == 255).sum()
    with pytest.warns(UserWarning, match=rf"class 0 and void \(255\) alone: {number} pixels.*label_map"):
        made.result()
    made.result()  # a second one would be an error


@pytest.mark.parametrize(
    ("ids", "arguments"),
    [
        ((0, 1, 255), {}),
        ((0,), {}),
        ((255,), {}),
        ((1, 255), {}),
        ((0, 255), {"num_classes": 3}),
        ((0, 254), {"ignore_class": 254}),
    ],
)
def test_other_masks_are_not_warned_of(ids, arguments):
    _, mask = example(ids)
    for metric in (MeanIoU, BoundaryIoU):
        made = metric(**{"num_classes": 2, **arguments})
        made.update_state(mask, np.zeros_like(mask, "int32"))
        made.result()


def test_labels_of_0_and_255_are_named_once():
    """In fit and in an evaluation: every label that is on is void."""
    labels = np.zeros((2, 6, 6, 3), "uint8")
    labels[:, :2, :, 0] = labels[:, 1:3, :, 2] = 255
    made = MeanIoU(3, multilabel=True)
    made.update_state(labels, np.zeros((2, 6, 6, 3), "float32"))
    with pytest.warns(UserWarning, match=r"class 0 and void \(255\) alone: 48 pixels.*mask // 255"):
        made.result()
    made.result()
    model = kseg.build_conv_stack(3, (6, 6, 3), depth=1, filters=2)
    with pytest.warns(UserWarning, match=r"class 0 and void \(255\) alone"):
        kseg.evaluate(model, [(np.zeros((2, 6, 6, 3), "uint8"), labels)], multilabel=True)
    right = MeanIoU(3, multilabel=True)
    right.update_state(labels // 255, np.zeros((2, 6, 6, 3), "float32"))
    right.result()  # a warning would be an error


@pytest.mark.parametrize("ids", [(0, 7), (0, 1, 9), (0, 7, 255)])
def test_ids_that_are_no_class_are_named_once(ids):
    _, mask = example(ids)
    number = (~np.isin(mask, (0, 1, 255))).sum()
    for metric in (MeanIoU, BoundaryIoU):
        made = metric(2)
        made.update_state(mask, np.zeros_like(mask, "int32"))
        with pytest.warns(
            UserWarning, match=rf"{number} pixels of the masks hold ids that are neither a class"
        ):
            made.result()
        made.result()  # a second one would be an error


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}])
@pytest.mark.slow_after(1)
def test_fit_warns_once_and_not_while_its_graph_is_built(options):
    images, mask = example((0, 255))
    model = compiled(MeanIoU(2), **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(images, mask, validation_data=(images, mask), epochs=3, batch_size=1, verbose=0)
    assert ["void (255) alone" in str(each.message) for each in caught] == [True]


def test_two_devices_warn_once_as_well():
    images, mask = example((0, 255))
    with kseg.strategy(["CPU:0", "CPU:1"]).scope():
        model = compiled(MeanIoU(2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.evaluate(tf.data.Dataset.from_tensor_slices((images, mask)).batch(2), verbose=0)
    assert sum("void (255) alone" in str(each.message) for each in caught) == 1


def test_numpys_counts_ask_the_same_question():
    _, mask = example((0, 255))
    for void, warned in ((255, True), ((254, 255), False)):
        confusion = Confusion(2, void)
        confusion.add(mask, np.zeros_like(mask))
        arguments = confusion.true_counts, confusion.void, void
        if warned:
            with pytest.warns(UserWarning, match="map it to class 1"):
                assert warn_of_void_foreground(*arguments)
        else:
            assert not warn_of_void_foreground(*arguments)
