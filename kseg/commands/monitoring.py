"""The value that tells the best epoch of a training: its name, its metric, how long to wait for a better."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from kseg import metrics
from kseg.callbacks.saving import best_is
from kseg.checks import unknown_name

MONITOR = "val_mean_iou"  # by default
_METRICS = {
    "mean_iou": metrics.MeanIoU,
    "mean_dice": metrics.MeanDice,
    "pixel_accuracy": metrics.PixelAccuracy,
    "boundary_iou": metrics.BoundaryIoU,
    "boundary_f1": metrics.BoundaryF1,
}
_OF_CLASS = "iou_"


def check_monitor(monitor: object, class_names: Sequence[str] | None = None) -> None:
    """Raise `ValueError` unless a training has a value of this name; it lists those there are.

    Args:
        monitor: a key of the logs, of the training or, with "val_" before it, of the validation.
        class_names: `None` while they are not known: any name of a class may then be right.
    """
    name = str(monitor).removeprefix("val_")
    if class_names is None and name.startswith(_OF_CLASS):
        return
    names = ["loss", *_METRICS, *(f"{_OF_CLASS}{each}" for each in class_names or ())]
    if not isinstance(monitor, str) or name not in names:
        raise unknown_name("monitor", monitor, [f"{start}{each}" for start in ("val_", "") for each in names])


def metrics_for(monitor: str, class_names: Sequence[str]) -> list[keras.metrics.Metric] | None:
    """Return the metrics of a training with this value, `None` where those of `kseg.compile` have it."""
    name = monitor.removeprefix("val_")
    if name not in _METRICS or name == "mean_iou":
        return None
    count = len(class_names)
    return [metrics.MeanIoU(count, class_names=class_names), _METRICS[name](count)]


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Stop where the epochs that `SaveBest` waits for do not come: one that is not finite is never best."""

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode=best_is(monitor))

    def get_monitor_value(self, logs: dict[str, Any] | None) -> float:
        values = [float((logs or {}).get(key, 0.0)) for key in ("loss", "val_loss", self.monitor)]
        if all(map(math.isfinite, values)):
            return values[-1]
        return -math.inf if self.mode == "max" else math.inf
