"""Ends of a training that are not its last epoch: a loss that is no number, a signal."""

import math
import signal
import threading
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The loss or a weight is no longer a finite number."""

    exit_code = 4  # of a program that it ends


class TrainingInterrupted(RuntimeError):  # noqa: N818
    """A signal stopped the training after a whole step.

    Attributes:
        signal: int.
        exit_code: int, `128 + signal`, of a program that it ends.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number
        self.exit_code = 128 + number


class StopOnDivergence(keras.callbacks.Callback):
    """Stop as soon as the loss is NaN or infinite, and name the pictures of that batch.

    `keras.callbacks.TerminateOnNaN` ends `fit` as if all were well, and says nothing of where it happened.

    Args:
        dataset: `None` or the dataset that is trained on; one of `kseg.data` that still has `image_paths` and
            `epochs` can name its files.

    Raises:
        TrainingDiverged: out of `fit`, with epoch, step and, of a dataset of files, their names.
    """

    def __init__(self, dataset: "tf.data.Dataset | None" = None) -> None:
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if math.isfinite(loss):
            return
        # the iteration that began last: others may set the number of the next one when an epoch begins
        epochs = getattr(self.dataset, "epochs", None)
        files = [] if epochs is None else files_of(self.dataset, epochs.next - 1, batch)
        raise TrainingDiverged(
            f"epoch {self.epoch + 1}, step {batch + 1}: the loss is {loss}"
            + (f"; its pictures: {', '.join(files)}" if files else "")
            + "; try a smaller learning rate, and look at these pictures and their masks"
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        check_finite(self.model, epoch)


class StopOnSignal(keras.callbacks.Callback):
    """Finish the step and stop when the process gets SIGINT (Ctrl-C) or SIGTERM; a second signal kills it.

    Raises:
        TrainingInterrupted: out of `fit`.
    """

    _NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        super().__init__()
        self.received: int | None = None
        self.before: dict[int, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.received, self.before = None, {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no handlers
            self.before = {number: signal.signal(number, self._receive) for number in self._NUMBERS}

    def _receive(self, number, frame):
        self.received = number
        self.restore()

    def restore(self) -> None:
        """Give the signals back to whoever handled them before."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._stop(f"in epoch {self.epoch + 1}, after step {batch + 1}")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._stop(f"in the validation of epoch {self.epoch + 1}")

    def _stop(self, where):
        if self.received is not None:
            name = signal.Signals(self.received).name
            raise TrainingInterrupted(f"stopped by {name} {where}", self.received)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.restore()


def files_of(dataset: Any, epoch: int, batch: int) -> list[str]:
    """Return the paths of the pictures of a batch of a dataset of `kseg.data`; none where it has no files.

    Args:
        dataset: as made by `kseg.data`, batched.
        epoch: the number of the iteration over it.
        batch: from 0.
    """
    paths = getattr(dataset, "image_paths", None)
    size = getattr(dataset, "batch_size", None)
    if not paths or not size:
        return []
    return [paths[index] for index in dataset.epochs.order(epoch)[batch * size : (batch + 1) * size]]


def check_finite(model: keras.Model, epoch: int) -> None:
    """Raise `TrainingDiverged` if a weight is NaN or infinite."""
    path = not_finite(model)
    if path is not None:
        raise TrainingDiverged(
            f"epoch {epoch + 1}: the weight {path} is not finite; try a smaller learning rate"
        )


def not_finite(model: keras.Model) -> str | None:
    """Return the path of a weight that is NaN or infinite, or `None`."""
    for variable in model.weights:
        if not np.all(np.isfinite(np.asarray(keras.ops.convert_to_numpy(variable), "float64"))):
            return variable.path
    return None
