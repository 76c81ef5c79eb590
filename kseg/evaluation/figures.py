"""The figures of an evaluation."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kseg.evaluation.calibration import Calibration
from kseg.evaluation.counting import Pictures
from kseg.evaluation.samples import Sample
from kseg.evaluation.scores import intervals_of, scores_of
from kseg.metrics import LabelCounts, iou_of

CLASS_SCORES = (
    *("class_iou", "class_dice", "class_precision", "class_recall"),
    *("class_boundary_iou", "class_boundary_f1"),
)
MEANS = (
    *("mean_iou", "mean_dice", "mean_boundary_iou", "mean_boundary_f1"),
    *("frequency_weighted_iou", "pixel_accuracy", "mean_accuracy"),
)


def check_same_classes(evaluations: Mapping[str, Evaluation]) -> None:
    """Raise unless there is an evaluation, and all are of the same classes.

    Raises:
        ValueError: it names the two that differ.
    """
    if not evaluations:
        raise ValueError("evaluations is empty: there is nothing to show")
    first, *others = evaluations
    for name in others:
        here, there = evaluations[first].class_names, evaluations[name].class_names
        if here != there:
            raise ValueError(
                f"{first!r} has {len(here)} classes, {', '.join(here[:3])}, ..., and {name!r} {len(there)}, "
                f"{', '.join(there[:3])}, ...; show evaluations of the same classes side by side"
            )


class Confusion(NamedTuple):
    """Pixels of one class that are taken for another.

    Attributes:
        true, predicted: names of the classes.
        ids: theirs.
        pixels: how many.
        share: of the pixels of the true class, in (0, 1].
    """

    true: str
    predicted: str
    ids: tuple[int, int]
    pixels: int
    share: float


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Figures of a model on a data set; printed, a table.

    Class scores are float64 `(num_classes,)`, NaN for a class without a pixel to score; means leave NaN out.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction; `None` where a pixel may
            have several labels.
        class_names: list of str.
        pixels_outside: int, pixels whose true id is neither a class nor void; they count nowhere else.
        missed: int64 `(num_classes,)`, pixels of each class whose predicted id is no class: misses of it.
        labels: `kseg.metrics.LabelCounts` where a pixel may have several labels, else `None`.
        pictures: the counts of each picture, `kseg.evaluation.Pictures`; `None` in one made of a matrix.
        calibration: `kseg.evaluation.Calibration`; `None` where the model gives no scores, or nothing tells
            whether they are probabilities.
        worst, best: the pictures that were kept, `kseg.evaluation.Sample`, the worst and the best first.
        facts: dict, what is known of the model: "name", "architecture", "parameters", ...
    """

    matrix: np.ndarray | None
    class_names: list[str]
    pixels_outside: int = 0
    missed: np.ndarray | None = None
    labels: LabelCounts | None = None
    pictures: Pictures | None = None
    calibration: Calibration | None = None
    worst: tuple[Sample, ...] = ()
    best: tuple[Sample, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def support(self) -> np.ndarray:
        """int64 `(num_classes,)`, pixels of the truth."""
        if self.labels is not None:
            return self.labels.true
        missed = 0 if self.missed is None else self.missed
        return np.asarray(self.matrix).sum(1) + missed

    @property
    def class_share(self) -> np.ndarray:
        """float64 `(num_classes,)`, the share of the truth's pixels, NaN where no pixel was counted."""
        if self.labels is not None:
            counted = self.labels.counted
        else:
            counted = np.full_like(self.support, self.support.sum())
        return np.divide(self.support, counted, out=np.full(len(counted), np.nan), where=counted > 0)

    @property
    def absent(self) -> list[str]:
        """Names of the classes without a pixel in the truth."""
        return [name for name, pixels in zip(self.class_names, self.support, strict=True) if not pixels]

    @property
    def class_iou(self) -> np.ndarray:
        """Of a class that appears in neither masks nor predictions NaN."""
        if self.labels is not None:
            return self.labels.iou
        return iou_of(np.asarray(self.matrix), self.missed)

    @property
    def class_dice(self) -> np.ndarray:
        """Twice the common pixels by those of truth and prediction."""
        return self.scores["class_dice"]

    @property
    def class_precision(self) -> np.ndarray:
        """The share of the predicted pixels that are right."""
        return self.scores["class_precision"]

    @property
    def class_recall(self) -> np.ndarray:
        """The share of the true pixels that are found."""
        return self.scores["class_recall"]

    @property
    def class_boundary_iou(self) -> np.ndarray | None:
        """As `kseg.metrics.BoundaryIoU`; `None` where borders were not counted."""
        return self.scores.get("class_boundary_iou")

    @property
    def class_boundary_f1(self) -> np.ndarray | None:
        """As `kseg.metrics.BoundaryF1`; `None` where borders were not counted."""
        return self.scores.get("class_boundary_f1")

    @property
    def mean_iou(self) -> float:
        """float, the mean over the classes that appear; NaN when none does."""
        iou = self.class_iou
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")

    @property
    def mean_dice(self) -> float:
        """float, likewise."""
        return float(self.scores["mean_dice"])

    @property
    def mean_accuracy(self) -> float:
        """float, the mean recall of the classes that the truth has."""
        return float(self.scores["mean_accuracy"])

    @property
    def mean_boundary_iou(self) -> float | None:
        """float; `None` where borders were not counted."""
        return self.mean_of("mean_boundary_iou")

    @property
    def mean_boundary_f1(self) -> float | None:
        """float; `None` where borders were not counted."""
        return self.mean_of("mean_boundary_f1")

    @property
    def frequency_weighted_iou(self) -> float:
        """float, the IoU of the classes, each by its share of the truth's pixels."""
        return float(self.scores["frequency_weighted_iou"])

    @property
    def pixel_accuracy(self) -> float:
        """float, the share of pixels, or of all labels of all pixels, that are right, void left out."""
        if self.labels is not None:
            return self.labels.accuracy
        missed = 0 if self.missed is None else self.missed.sum()
        matrix = np.asarray(self.matrix)
        return float(np.trace(matrix) / max(matrix.sum() + missed, 1))

    @property
    def calibration_error(self) -> float | None:
        """float in [0, 1], the expected calibration error; `None` without confidences."""
        return None if self.calibration is None else self.calibration.error

    @property
    def latency_ms(self) -> float | None:
        """float, the median time of the model per picture, in ms."""
        return None if self.pictures is None else 1e3 * float(np.median(self.pictures.seconds))

    @functools.cached_property
    def scores(self) -> dict[str, np.ndarray]:
        """Every score by its name: "class_iou", "mean_iou", "pixel_accuracy", ..."""
        pictures, labels = self.pictures, self.labels
        if pictures is not None:
            sums = pictures.areas.sum(0, dtype="int64")
            bands, borders = (
                None if kind is None else kind.sum(0, dtype="int64")
                for kind in (pictures.bands, pictures.borders)
            )
            return scores_of(sums, bands, borders, labels is not None)
        if labels is not None:
            areas = [labels.both, labels.true, labels.predicted, labels.counted]
        else:
            matrix, true = np.asarray(self.matrix), self.support
            areas = [np.diagonal(matrix), true, matrix.sum(0), np.full_like(true, true.sum())]
        return scores_of(np.stack(areas), None, None, labels is not None)

    @functools.cached_property
    def intervals(self) -> dict[str, np.ndarray] | None:
        """95 % intervals of the scores by their names, `(2,)` low and high, of classes `(num_classes, 2)`.

        1000 resamples of the pictures; `None` of fewer than two pictures, which tell no spread.
        """
        pictures = self.pictures
        if pictures is None or len(pictures.names) < 2:
            return None
        return intervals_of(pictures.areas, pictures.bands, pictures.borders, self.labels is not None)

    def confusions(self) -> list[Confusion]:
        """Return which class is taken for which other, that of most pixels first; none of several labels."""
        if self.matrix is None:
            return []
        wrong = self.matrix - np.diag(np.diagonal(self.matrix))
        found = []
        for place in np.argsort(-wrong, axis=None, kind="stable"):
            true, predicted = divmod(int(place), len(wrong))
            pixels = int(wrong[true, predicted])
            if not pixels:
                break
            names = self.class_names[true], self.class_names[predicted]
            share = pixels / int(self.support[true])
            found.append(Confusion(*names, (true, predicted), pixels, share))
        return found

    def mean_of(self, name: str) -> float | None:
        """Return a score of all classes together by its name, `None` where it was not counted."""
        return float(self.scores[name]) if name in self.scores else None

    def as_dict(self) -> dict[str, Any]:
        """Return all figures as what JSON holds: lists, numbers, `None` for what is no number.

        Keys:
            `model`: what is known of it: `name`, `path`, `format`, `architecture`, `parameters`,
            `input_size`, `channels`, `output_kind`, `multilabel`.
            `pictures`: their number; `pixels_outside`.
            `mean_iou`, `mean_dice`, `mean_boundary_iou`, `mean_boundary_f1`, `frequency_weighted_iou`,
            `pixel_accuracy`, `mean_accuracy`, `calibration_error`; `latency_ms`, median per picture.
            `intervals`: by the names of the means `[low, high]`, 95 % over pictures, or `None`.
            `absent`: names of the classes without a pixel in the truth.
            `classes`: of each `id`, `name`, `iou`, `dice`, `precision`, `recall`, `boundary_iou`,
            `boundary_f1`, `iou_interval`, `pixels` of the truth, `share` of them, `in_truth`.
            `confusion_matrix`, rows truth; `missed`.
            `calibration`: bins with `low`, `high`, `pixels`, `accuracy`, `confidence`.
            `by_picture`: of each `name`, `mean_iou`, `pixel_accuracy`.
        """
        from kseg.evaluation.files import as_dict

        return as_dict(self)

    def __str__(self) -> str:
        from kseg.evaluation.tables import table

        return table({"": self})

    def __repr__(self) -> str:
        """Name it on one line: in full it is pages of counts, which a notebook would keep."""
        return f"<Evaluation of {len(self.class_names)} classes: mean IoU {self.mean_iou:.4f}>"

    def _repr_html_(self) -> str:
        """Show a notebook the table as it is printed; names are text."""
        return f"<pre>{html.escape(str(self))}</pre>"
