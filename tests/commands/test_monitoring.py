"""What tells the best epoch, and when a training ends without a better one."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kseg
from kseg.commands.asked import check_arguments
from kseg.commands.monitoring import EarlyStopping, check_monitor, metrics_for

NAMES = ["sea", "land"]


@pytest.mark.parametrize(
    "monitor",
    ["loss", "val_loss", "mean_iou", "val_mean_dice", "val_boundary_iou", "val_iou_land", "iou_sea"],
)
def test_a_training_has_the_values_it_may_be_asked_for(monitor):
    check_monitor(monitor)
    check_monitor(monitor, NAMES)
    model = kseg.build_conv_stack(2, depth=1, filters=2)
    metrics = metrics_for(monitor, NAMES)
    kseg.compile(model, **({"class_names": NAMES} if metrics is None else {"metrics": metrics}))
    images, masks = np.zeros((2, 16, 16, 3), "float32"), np.eye(16, dtype="uint8")[None].repeat(2, 0)
    logs = model.fit(images, masks, validation_data=(images, masks), verbose=0).history
    assert monitor in logs and {"loss", "val_mean_iou", "val_iou_sea"} <= set(logs)


@pytest.mark.parametrize(
    ("monitor", "names", "words"),
    [
        ("val_mean_io", None, "unknown monitor 'val_mean_io'; did you mean 'val_mean_iou'.*val_boundary_f1"),
        ("accuracy", None, "unknown monitor 'accuracy'.*pixel_accuracy"),
        ("val_iou_lan", NAMES, "unknown monitor 'val_iou_lan'; did you mean 'val_iou_land'"),
        (None, NAMES, "unknown monitor None"),
        ("", NAMES, "unknown monitor ''"),
    ],
)
def test_another_value_is_refused_with_those_there_are(monitor, names, words):
    with pytest.raises(ValueError, match=words):
        check_monitor(monitor, names)


VALUES = st.floats(-2, 2, width=32, allow_subnormal=False) | st.sampled_from(
    [math.nan, math.inf, -math.inf, 0.5]
)


@settings(deadline=None)
@given(
    st.lists(VALUES, min_size=1, max_size=12),
    st.integers(1, 4),
    st.sampled_from(["val_loss", "val_mean_iou"]),
)
def test_it_waits_as_long_as_nothing_better_is_saved(values, patience, monitor):
    """Against a restatement: it ends as many epochs after the last one that `SaveBest` would save."""
    model = keras.Sequential()
    stop = EarlyStopping(monitor, patience)
    stop.set_model(model)
    stop.on_train_begin()
    sign, best, waited, ended = (-1 if monitor == "val_loss" else 1), -math.inf, 0, None
    for epoch, value in enumerate(values):
        model.stop_training = False
        stop.on_epoch_end(epoch, {"loss": 1.0, "val_loss": 1.0} | {monitor: value})
        better = math.isfinite(value) and sign * value > best
        best, waited = (sign * value, 0) if better else (best, waited + (epoch > 0))
        ended = waited >= patience
        assert model.stop_training == ended, (epoch, value)
        if ended:
            break


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"early_stopping": 0}, "early_stopping must be a number of epochs of 1 or more, got 0"),
        ({"early_stopping": True}, "early_stopping must be a number of epochs of 1 or more, got True"),
        ({"of_model": {"filters": 0}}, "filters must be a number of 1 or more, or several of them, got 0"),
        ({"of_model": {"filters": "8"}}, "filters must be a number .* got '8'"),
        (
            {"model": "unet", "of_model": {"filters": 8, "backbone": "vgg16"}},
            "filters= is the width of the model's own encoder",
        ),
    ],
)
def test_arguments_are_judged_before_the_data_are_read(arguments, words):
    options = {"precision": "float32", "options": {}, "start_from": None, "freeze_encoder": False}
    asked = {"model": "conv_stack", "of_model": {}, **options, "seed": 0, "cache": None, **arguments}
    with pytest.raises(ValueError, match=words):
        check_arguments(**asked)


def test_filters_are_refused_where_a_model_has_none(monkeypatch):
    parameters = {"deeplabv3": ["num_classes"]}
    monkeypatch.setattr(
        "kseg.commands.asked.builder_parameters",
        lambda name: parameters.get(name, ["num_classes", "filters"]),
    )
    with pytest.raises(
        ValueError, match=r"^filters= is for conv_stack, .*unet, and model 'deeplabv3' has no"
    ):
        check_arguments("deeplabv3", {"filters": 8}, "float32", {}, None, False, 0, None)
