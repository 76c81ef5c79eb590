"""Callbacks that Keras lacks."""

import math
import os
import sys
import time
from pathlib import Path

import keras


class SaveBest(keras.callbacks.Callback):
    """Save the model whenever a monitored value reaches a new maximum, never leaving a torn file.

    `keras.callbacks.ModelCheckpoint` writes over the last good file and takes NaN for a best value that no
    later epoch beats. This one writes beside it, then renames; an epoch whose loss is not finite is never
    best, whatever its metric says.

    Args:
        path: `.keras` file.
        monitor: str, a key of the logs.

    Raises:
        ValueError: if `path` does not end in `.keras`; at the end of an epoch whose logs lack `monitor`, with
            the keys there are.
    """

    def __init__(self, path, monitor="val_mean_iou"):
        super().__init__()
        self.path = _keras_path(path)
        self.monitor = monitor
        self.best = -math.inf

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self.monitor not in logs:
            raise ValueError(
                f"monitor={self.monitor!r} is not in the logs, which have {', '.join(sorted(logs))}"
            )
        value = float(logs[self.monitor])
        finite = all(math.isfinite(logs.get(key, 0.0)) for key in ("loss", "val_loss", self.monitor))
        if not finite or value <= self.best:
            return
        save_model(self.model, self.path)
        self.best = value


class EpochLine(keras.callbacks.Callback):
    """Print one line per epoch and, on a terminal, a running one: step, loss and time left.

    Args:
        keys: logs to print at the end of an epoch, in this order.
        file: text stream, `sys.stdout` when `None`.
    """

    def __init__(self, keys=("loss", "val_loss", "val_mean_iou"), file=None):
        super().__init__()
        self.keys = keys
        self.file = file

    def on_train_begin(self, logs=None):
        self.file = self.file or sys.stdout
        self.start = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.epoch_start = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if not self.file.isatty():
            return
        total = self.params.get("steps")
        spent = time.monotonic() - self.epoch_start
        left = "" if not total else f", {spent / (batch + 1) * (total - batch - 1):.0f} s left"
        loss = float((logs or {}).get("loss", math.nan))
        print(
            f"\repoch {self.epoch + 1}: step {batch + 1}/{total or '?'}, loss {loss:.3f}{left}   ",
            end="",
            file=self.file,
            flush=True,
        )

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        values = "  ".join(f"{key} {float(logs[key]):.4f}" for key in self.keys if key in logs)
        epochs = self.params.get("epochs", "?")
        minutes = (time.monotonic() - self.start) / 60
        start = "\r\033[K" if self.file.isatty() else ""
        print(f"{start}epoch {epoch + 1}/{epochs}  {values}  {minutes:.1f} min", file=self.file, flush=True)


def save_model(model, path):
    """Save `model` as a `.keras` file, whole or not at all.

    Raises:
        ValueError: if `path` does not end in `.keras`.
        OSError: if it cannot be written; an older file at `path` is then as it was.
    """
    path = _keras_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}-{os.getpid()}.keras")
    try:
        model.save(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _keras_path(path):
    path = Path(path)
    if path.suffix != ".keras":
        raise ValueError(f"path must end in .keras, got {str(path)!r}")
    return path
