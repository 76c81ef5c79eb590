"""A training to look at: a table of its epochs, and curves."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import keras
from PIL import Image

from kseg.disk import write_whole
from kseg.distribution import is_chief
from kseg.types import PathLike
from kseg.visualization import learning_curve


class LearningCurve(keras.callbacks.Callback):
    """Write `history.csv` and `learning_curve.png` after every epoch; of several workers the chief does.

    An epoch that was not validated (`validation_freq` of `fit`) has "nan" there and no point in the curve.

    Args:
        folder: where they go.
    """

    def __init__(self, folder: PathLike) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.rows: list[tuple[int, dict[str, float]]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.rows = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not is_chief():
            return
        self.rows = self.rows or self._earlier(epoch)
        self.rows.append((epoch + 1, {key: float(value) for key, value in (logs or {}).items()}))
        keys = list(dict.fromkeys(key for _, row in self.rows for key in row))
        history = {key: [row.get(key, math.nan) for _, row in self.rows] for key in keys}
        self.folder.mkdir(parents=True, exist_ok=True)
        table = io.StringIO(newline="")
        writer = csv.writer(table)
        writer.writerow(["epoch", *history])
        writer.writerows([number, *(row.get(key, math.nan) for key in keys)] for number, row in self.rows)
        write_whole(self.folder / "history.csv", table.getvalue().encode(), "the table")
        before = [math.nan] * (self.rows[0][0] - 1)  # epochs that nobody knows of
        curves = {
            title: {key: before + history[key] for key in (name, f"val_{name}") if key in history}
            for title, name in (("loss", "loss"), ("mean IoU", "mean_iou"))
        }
        picture = io.BytesIO()
        Image.fromarray(learning_curve(curves)).save(picture, "PNG")
        write_whole(self.folder / "learning_curve.png", picture.getvalue(), "the picture")

    def _earlier(self, epoch):
        """Return the rows of epochs before a resume; of values that were not one per epoch, none is known."""
        history = history_with(self.model, epoch, {})
        count = max(map(len, history.values()), default=0)
        whole = {key: values for key, values in history.items() if len(values) == count}
        return [
            (epoch - count + n + 1, {key: values[n] for key, values in whole.items()}) for n in range(count)
        ]


def history_with(model: keras.Model, epoch: int, logs: dict | None) -> dict:
    """Return the history of a model up to the epoch that ends: Keras adds its logs after ours were called."""
    history = {key: [*map(float, values)] for key, values in model.history.history.items()}
    if len(next(iter(history.values()), [])) <= epoch:
        for key, value in (logs or {}).items():
            history.setdefault(key, []).append(float(value))
    return history
