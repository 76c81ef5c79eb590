"""Lines to follow a training by: when it begins to learn, how far an epoch is, what each epoch came to."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import keras

from kseg.distribution import is_chief

_WIDTH = 76  # of the running line: a shorter one covers a longer one
_EVERY = 30.0  # seconds from one line to the next where nothing can run along


class EpochLine(keras.callbacks.Callback):
    """Print one line per epoch, with the time that is left, and tell of the first step and the way.

    The first step builds the graph, which takes long: a line says so before, another when it is done. On a
    terminal a line then runs along: step, loss, time left. Elsewhere, in a file for instance, such a line
    comes every half minute at most. Of several workers the chief prints.

    Args:
        keys: logs to print at the end of an epoch, in this order.
        file: `sys.stdout` when `None`.
        run: `None` or the name of the training, with which every line then begins.

    Example:
        >>> import kseg
        >>> scenes = kseg.data.shapes(4, (32, 32), batch_size=2)
        >>> model = kseg.compile(kseg.build_conv_stack(6, depth=1, filters=4))
        >>> history = model.fit(scenes, verbose=0, shuffle=False,
        ...                     callbacks=[EpochLine(["absent"], run="first")])  # doctest: +ELLIPSIS
        first: first step: building the graph, may take a minute
        first: first step after ... s
        first: about ... s an epoch
        first: epoch 1/1  0.0 min
    """

    def __init__(
        self,
        keys: Sequence[str] = ("loss", "val_loss", "val_mean_iou"),
        file: TextIO | None = None,
        run: str | None = None,
    ) -> None:
        super().__init__()
        self.keys = keys
        self.file = file
        self.run = run
        self.clock = _Clock(time.monotonic())

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.stream = self.file or sys.stdout
        self.clock = _Clock(time.monotonic())

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch
        self.clock.count_from(-1)
        if not self.clock.has_begun:
            self._along("first step: building the graph, may take a minute")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if not is_chief():
            return
        clock, total, is_second = self.clock, self.params.get("steps"), self.clock.has_only_begun
        if not clock.has_begun:
            float((logs or {}).get("loss", 0.0))  # waits for a device that computes by itself
            self._along(f"first step after {in_words(time.monotonic() - clock.start)}")
            clock.count_from(batch)  # it takes longer than the others
            clock.has_begun = clock.has_only_begun = True
            return
        clock.has_only_begun = False
        if not (self.stream.isatty() or is_second or clock.is_due()):
            return
        loss = float((logs or {}).get("loss", math.nan))
        step = clock.step(batch)
        if is_second and total and not self.stream.isatty():
            self._along(f"about {in_words(step * total)} an epoch")
            return
        left = "" if not total else f", {in_words(step * (total - batch - 1))} left"
        self._along(f"epoch {self.epoch + 1}: step {batch + 1}/{total or '?'}, loss {loss:.3f}{left}")

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.clock.has_begun and is_chief() and (self.stream.isatty() or self.clock.is_due()):
            self._along(f"epoch {self.epoch + 1}: validating, batch {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.clock.epochs += 1
        logs = logs or {}
        values = "".join(f"  {key} {float(logs[key]):.4f}" for key in self.keys if key in logs)
        epochs = self.params.get("epochs")
        spent = time.monotonic() - self.clock.start
        left = ""
        if epochs and epoch + 1 < epochs:
            left = f", about {in_words(spent / self.clock.epochs * (epochs - epoch - 1))} left"
        start = "\r\033[K" if self.stream.isatty() else ""
        self._print(
            f"{start}{self._name()}epoch {epoch + 1}/{epochs or '?'}{values}  {spent / 60:.1f} min{left}"
        )

    def _along(self, text):
        """Print a line that runs along on a terminal, and stays elsewhere."""
        self.clock.told = time.monotonic()
        if self.stream.isatty():
            self._print(f"\r{self._name()}{text}".ljust(_WIDTH), end="")
        else:
            self._print(self._name() + text)

    def _name(self):
        return "" if self.run is None else f"{self.run}: "

    def _print(self, text, end="\n"):
        if is_chief():
            print(text, end=end, file=self.stream, flush=True)


@dataclass
class _Clock:
    """Times of a training, in seconds.

    Attributes:
        start: when it began.
        since, batch: when the steps of this epoch that are counted began, and the batch before them.
        told: when the last line came.
        has_begun, has_only_begun: whether the first step is done, and no other.
        epochs: how many are done.
    """

    start: float
    since: float = 0.0
    batch: int = -1
    told: float = 0.0
    has_begun: bool = False
    has_only_begun: bool = False
    epochs: int = 0

    def count_from(self, batch: int) -> None:
        self.since, self.batch = time.monotonic(), batch

    def step(self, batch: int) -> float:
        """Return the seconds of a step, up to this batch."""
        return (time.monotonic() - self.since) / max(batch - self.batch, 1)

    def is_due(self) -> bool:
        return time.monotonic() - self.told >= _EVERY


def in_words(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s" if seconds else "0 s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
