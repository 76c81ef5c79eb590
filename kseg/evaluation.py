"""A model on a whole data set: per-class IoU, side by side with others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from kseg.checks import check_class_names
from kseg.inference import open_model
from kseg.metrics import Confusion, iou_of
from kseg.types import Dataset, IgnoreClass, PathLike


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set; printed, a table.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction.
        class_names: list of str.
        pixels_outside: int, pixels whose true id is neither a class nor void; they count nowhere else.
        missed: int64 `(num_classes,)`, pixels of each class whose predicted id is no class: misses of it.
    """

    matrix: np.ndarray
    class_names: list[str]
    pixels_outside: int = 0
    missed: np.ndarray | None = None

    @property
    def class_iou(self) -> np.ndarray:
        """float64 `(num_classes,)`, NaN for a class that appears in neither masks nor predictions."""
        return iou_of(self.matrix, self.missed)

    @property
    def mean_iou(self) -> float:
        """float, the mean over the classes that appear; NaN when none does."""
        iou = self.class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """float, the share of pixels that are right, void left out."""
        missed = 0 if self.missed is None else self.missed.sum()
        return float(np.trace(self.matrix) / max(self.matrix.sum() + missed, 1))

    def __str__(self) -> str:
        return table({"IoU": self}) + (
            f"\n{self.pixels_outside} pixels outside the classes are not counted"
            if self.pixels_outside
            else ""
        )


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """Return per-class IoU of several evaluations side by side.

    Args:
        evaluations: dict, column heading → `Evaluation` of the same classes.
    """
    names = next(iter(evaluations.values())).class_names
    width = max(len(name) for name in [*names, "pixel accuracy"])
    columns = [max(len(heading), 6) for heading in evaluations]
    rows = [("", list(evaluations))]
    for index, name in enumerate(names):
        rows.append((name, [_figure(e.class_iou[index]) for e in evaluations.values()]))
    rows.append(("mean IoU", [_figure(e.mean_iou) for e in evaluations.values()]))
    rows.append(("pixel accuracy", [_figure(e.pixel_accuracy) for e in evaluations.values()]))
    return "\n".join(
        f"{name:{width}}  " + "  ".join(f"{cell:>{c}}" for cell, c in zip(cells, columns, strict=True))
        for name, cells in rows
    )


def _figure(value):
    return "n/a" if np.isnan(value) else f"{value:.4f}"


def _classes_of(runner, class_names, dataset):
    """Return how many classes a model tells apart; of a file that gives ids, the names tell."""
    if runner.num_classes is not None:
        return max(runner.num_classes, 2)
    names = class_names or getattr(dataset, "class_names", None)
    if not names:
        raise ValueError("num_classes is missing: the file gives class ids, which do not tell how many")
    return len(names)


def evaluate(
    model_or_path: keras.Model | PathLike,
    dataset: Dataset,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: IgnoreClass = 255,
    progress: Callable[[int, int | None], object] | None = None,
) -> Evaluation:
    """Evaluate a model or an exported file over a whole data set, at the size of its masks.

    Args:
        model_or_path: as for `predict`.
        dataset: batches `(image (B, H, W, C), mask (B, H, W))`.
        num_classes: `None` takes the number of the model's channels (2 for one channel).
        class_names: `None` or one name per class; else the dataset's attribute, else "class 0", ...
        ignore_class: int or several, void.
        progress: `None` or a function called with `(batches done, all batches or None)`.

    Returns:
        `Evaluation`.

    Raises:
        ValueError: if the dataset is empty or the names are not one per class.
    """
    runner = open_model(model_or_path)
    counter = None
    total = dataset.cardinality().numpy() if hasattr(dataset, "cardinality") else -1
    for done, (images, masks) in enumerate(dataset, start=1):
        if counter is None:
            counter = Confusion(num_classes or _classes_of(runner, class_names, dataset), ignore_class)
        counter.add(np.asarray(masks), runner.ids(np.asarray(images)))
        if progress:
            progress(done, total if total > 0 else None)
    if counter is None:
        raise ValueError("the dataset is empty: there is nothing to evaluate")
    class_names = class_names or getattr(dataset, "class_names", None)
    class_names = class_names or [f"class {number}" for number in range(counter.num_classes)]
    check_class_names(class_names, counter.num_classes)
    return Evaluation(counter.matrix, list(class_names), counter.outside, counter.missed)
