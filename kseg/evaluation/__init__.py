"""A model on a whole data set: per-class IoU, side by side with others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from kseg.checks import check_class_names
from kseg.data.batches import batches
from kseg.inference import open_model
from kseg.inference.resizing import Resize
from kseg.metrics import Confusion, LabelCounts, iou_of, warn_of_void_foreground
from kseg.types import Dataset, IgnoreClass, InputRange, PathLike, StatedActivation
from kseg.value_range import checked_value_range


@dataclass(frozen=True)
class Evaluation:
    """Figures of a model on a data set; printed, a table.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction; `None` where a pixel may
            have several labels.
        class_names: list of str.
        pixels_outside: int, pixels whose true id is neither a class nor void; they count nowhere else.
        missed: int64 `(num_classes,)`, pixels of each class whose predicted id is no class: misses of it.
        labels: `kseg.metrics.LabelCounts` where a pixel may have several labels, else `None`.
    """

    matrix: np.ndarray | None
    class_names: list[str]
    pixels_outside: int = 0
    missed: np.ndarray | None = None
    labels: LabelCounts | None = None

    @property
    def class_iou(self) -> np.ndarray:
        """float64 `(num_classes,)`, NaN for a class that appears in neither masks nor predictions."""
        if self.labels is not None:
            return self.labels.iou
        return iou_of(np.asarray(self.matrix), self.missed)

    @property
    def mean_iou(self) -> float:
        """float, the mean over the classes that appear; NaN when none does."""
        iou = self.class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """float, the share of pixels, or of all labels of all pixels, that are right, void left out."""
        if self.labels is not None:
            return self.labels.accuracy
        missed = 0 if self.missed is None else self.missed.sum()
        matrix = np.asarray(self.matrix)
        return float(np.trace(matrix) / max(matrix.sum() + missed, 1))

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


def _check_range(runner, dataset):
    """Raise where the pictures of a data set were read by another range than the model keeps."""
    kept, used = runner.value_range, checked_value_range(getattr(dataset, "value_range", None))
    if kept is not None and used is not None and kept != used:
        raise ValueError(
            f"the dataset was read by value_range={used}, and {runner.name} was trained with {kept}; read it "
            "by the range of the model"
        )


def evaluate(
    model_or_path: keras.Model | PathLike,
    dataset: Dataset,
    *,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: IgnoreClass = 255,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    progress: Callable[[int, int | None], object] | None = None,
) -> Evaluation:
    """Evaluate a model or an exported file over a whole data set, at the size of its masks.

    Args:
        model_or_path: as for `predict`.
        dataset: batches `(pictures (B, H, W, C), masks (B, H, W))`, in whatever holds them: a
            `tf.data.Dataset`, a list, a generator or a function that gives one, Keras' `(x, y)` of arrays.
            Masks of several labels are `(B, H, W, C)` of 0 and 1.
        num_classes: `None` takes the number of the model's channels (2 for one channel).
        class_names: `None` or one name per class; else the dataset's attribute, else "class 0", ...
        ignore_class: int or several, void; `None` for a model of more than 255 classes.
        activation, input_range, multilabel, resize: as for `kseg.predict`.
        progress: `None` or a function called with `(batches done, all batches or None)`.

    Returns:
        `Evaluation`.

    Raises:
        TypeError: if the masks hold no integers, or `dataset` no batches.
        ValueError: if the dataset is empty or the names are not one per class; if `ignore_class` is one of
            the classes; for what `kseg.predict` refuses; if the
            dataset was read by another `value_range` than the model keeps.
    """
    runner = open_model(
        model_or_path,
        activation=activation,
        input_range=input_range,
        multilabel=multilabel,
        resize=resize,
    ).settled()
    runner.check_whole()
    _check_range(runner, dataset)
    counter: Confusion | LabelCounts | None = None
    total = dataset.cardinality().numpy() if hasattr(dataset, "cardinality") else -1
    for done, (images, masks) in enumerate(batches(dataset, "dataset"), start=1):
        if masks is None:
            raise ValueError("the dataset holds pictures alone: an evaluation needs masks, (pictures, masks)")
        if counter is None:
            count = num_classes or _classes_of(runner, class_names, dataset)
            counter = (LabelCounts if runner.multilabel else Confusion)(count, ignore_class)
        counter.add(masks, runner.ids(images))
        if progress:
            progress(done, total if total > 0 else None)
    if counter is None:
        raise ValueError("the dataset is empty: there is nothing to evaluate")
    names = class_names or getattr(dataset, "class_names", None)
    names = list(names or [f"class {number}" for number in range(counter.num_classes)])
    check_class_names(names, counter.num_classes)
    if isinstance(counter, LabelCounts):
        on, counted = counter.true.sum(), counter.counted.sum()
        warn_of_void_foreground(np.array([counted - on, on]), counter.void, counter.ignore_class)
        return Evaluation(None, names, counter.outside, labels=counter)
    warn_of_void_foreground(counter.true_counts, counter.void, counter.ignore_class)
    return Evaluation(counter.matrix, names, counter.outside, counter.missed)
