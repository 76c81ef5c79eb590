"""The best epoch of a training, saved whole or not at all."""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kseg.callbacks.stopping import not_finite
from kseg.checks import check_choice
from kseg.disk import remove_partial_files, whole_file
from kseg.distribution import is_chief
from kseg.graphs import functional, pack_outputs
from kseg.optimizers import SGD, AdamW
from kseg.optimizers.averages import averaged
from kseg.types import PathLike


class SaveBest(keras.callbacks.Callback):
    """Save the model whenever a monitored value is the best so far, never leaving a torn file.

    `keras.callbacks.ModelCheckpoint` writes over the last good file and takes NaN for a best value that no
    later epoch beats. This one writes beside it, then renames; an epoch whose loss is not finite is never
    best, whatever its metric says. Where the optimizer keeps moving averages of the weights, they are saved;
    `EvaluateEMA`, beside it, evaluates them too.
    Of several workers the chief saves. Epochs that are not validated (`validation_freq` of `fit`) are passed
    over; the first of them warns, in case the data to validate with were forgotten.

    Args:
        path: `.keras` file.
        monitor: a key of the logs.
        mode: whether the `"max"` or the `"min"` is best; `"auto"` takes the least of a loss, else the most.
        report: `None` or a function of a str, told before a model is written.

    Attributes:
        best: the value of the best epoch.
        best_epoch: its number, from 1; `None` while there is none.

    Raises:
        ValueError: if `path` does not end in `.keras`; for an unknown `mode`; at the end of a validated epoch
            whose logs lack `monitor`, with the keys there are.
    """

    def __init__(
        self,
        path: PathLike,
        monitor: str = "val_mean_iou",
        mode: Literal["auto", "max", "min"] = "auto",
        report: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self.path = _keras_path(path)
        self.monitor = monitor
        check_choice("mode", mode, ("auto", "max", "min"))
        self.mode = best_is(monitor) if mode == "auto" else mode
        self.report = report
        self.best = -math.inf if self.mode == "max" else math.inf
        self.best_epoch: int | None = None
        self.warned = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if is_chief():
            remove_partial_files([self.path])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        if self.monitor.startswith("val_") and not any(key.startswith("val_") for key in logs):
            if not self.warned:
                warnings.warn(
                    f"monitor={self.monitor!r}: epoch {epoch + 1} was not validated, nothing is saved; "
                    "give fit validation_data, or monitor a key without val_",
                    stacklevel=2,
                )
            self.warned = True
            return
        if self.monitor not in logs:
            raise ValueError(
                f"monitor={self.monitor!r} is not in the logs, which have {', '.join(sorted(logs))}"
            )
        value = float(logs[self.monitor])
        finite = all(math.isfinite(logs.get(key, 0.0)) for key in ("loss", "val_loss", self.monitor))
        better = value > self.best if self.mode == "max" else value < self.best
        if not finite or (not better and self.path.exists()) or not_finite(self.model):
            return
        if is_chief():
            if self.report is not None:
                self.report(f"{self.monitor} {value:.4f} is the best so far: writing {self.path.name}")
            with averaged(self.model):
                save_model(self.model, self.path)
        self.best, self.best_epoch = value, epoch + 1


def best_is(monitor: str) -> Literal["max", "min"]:
    """Return which value of a key of the logs is best: of losses the least."""
    name = monitor.removeprefix("val_")
    of_class = name.startswith("iou_")  # its name may be anything
    return "min" if name == "loss" or (name.endswith("_loss") and not of_class) else "max"


def save_model(model: keras.Model, path: PathLike, *, include_optimizer: bool = True) -> None:
    """Save `model` as a `.keras` file, whole or not at all.

    Args:
        model: `keras.Model`.
        path: `.keras` file.
        include_optimizer: whether the file holds what the optimizer has learnt, two to three times the
            weights, which only more training needs (Keras' own argument has no effect on `.keras` files).
            Without it the model is still compiled; training it starts anew.

    Raises:
        ValueError: if `path` does not end in `.keras`; without the optimizer, for a model that is not
            functional.
        OSError: if it cannot be written, with what it needs and what is free; an older file at `path` is then
            as it was.
    """
    target = _keras_path(path)
    model = model if include_optimizer else _without_state(model)
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
    needed = 4 * sum(int(np.prod(variable.shape)) for variable in variables)
    with whole_file(target, "the model", needed=needed) as partial:
        model.save(partial)


def _without_state(model):
    """Return a model of the same layers, compiled alike, whose optimizer has not begun."""
    graph = functional(model)
    if graph is None:
        raise ValueError(
            f"include_optimizer=False: {model.name!r} is a subclass of keras.Model; save it with its state"
        )
    alone = keras.Model(graph.inputs, pack_outputs(graph, graph.outputs), name=model.name)
    if getattr(model, "optimizer", None) is not None:
        of_kseg = isinstance(model.optimizer, AdamW | SGD)  # others warn of a file without their state
        fresh = type(model.optimizer).from_config(model.optimizer.get_config()) if of_kseg else SGD()
        alone.compile(optimizer=fresh, loss=model.loss)  # the loss tells what scores are
    return alone


def _keras_path(path):
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"path must end in .keras, got {str(path)!r}")
    return path
