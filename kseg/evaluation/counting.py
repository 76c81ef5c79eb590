"""Counts of an evaluation, picture by picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kseg.evaluation.boundaries import band_counts, border_counts, label_counts
from kseg.evaluation.calibration import Calibration
from kseg.metrics import Confusion, LabelCounts
from kseg.types import IgnoreClass


@dataclass(frozen=True)
class Pictures:
    """What was counted in each picture of an evaluation.

    Attributes:
        names: list of str, its file below the folder that all share, or "picture 1", ...
        areas: `(pictures, 4, num_classes)`: pixels that truth and prediction have, those of the truth, those
            of the prediction, those that are counted.
        bands: `None` or `(pictures, 3, num_classes)`, along the borders: pixels of both bands, of the true
            one, of the predicted one.
        borders: `None` or `(pictures, 4, num_classes)`, border pixels: predicted, of them near a true one;
            true, of them near a predicted one.
        seconds: float64 `(pictures,)`, the time of the model.
    """

    names: list[str]
    areas: np.ndarray
    bands: np.ndarray | None
    borders: np.ndarray | None
    seconds: np.ndarray


@dataclass(frozen=True)
class Counted:
    """A picture that was counted; of several labels per pixel the last axis of each array is the label's.

    Attributes:
        areas: int64 `(4, num_classes)`, as in `Pictures`.
        true: ids `(H, W)`, `num_classes` where it is void or no class; or bool `(H, W, C)`.
        predicted: ids `(H, W)`, `num_classes` where it is no class; or bool `(H, W, C)`.
        counted: bool, where the truth is neither void nor something else.
    """

    areas: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    counted: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """bool in the shape of `counted`, where the prediction is another."""
        return self.counted & (self.true != self.predicted)


class Tally:
    """Counts pictures one after the other.

    Args:
        num_classes: how many classes there are.
        ignore_class: void.
        multilabel: whether a pixel may have several labels.
        boundaries: whether borders are counted.

    Attributes:
        counter: `kseg.metrics.Confusion` or `LabelCounts`, of all pictures.
        calibration: `Calibration`, empty where the model gives no confidence.
    """

    def __init__(
        self, num_classes: int, ignore_class: IgnoreClass, multilabel: bool, boundaries: bool
    ) -> None:
        kind = LabelCounts if multilabel else Confusion
        self.counter: Confusion | LabelCounts = kind(num_classes, ignore_class)
        self.calibration = Calibration()
        self._boundaries = boundaries
        self._areas: list[np.ndarray] = []
        self._bands: list[np.ndarray] = []
        self._borders: list[np.ndarray] = []

    def add(self, mask: np.ndarray, predicted: np.ndarray, confidence: np.ndarray | None) -> Counted:
        """Add a picture.

        Args:
            mask, predicted: ids `(1, H, W)`, or labels `(1, H, W, C)`.
            confidence: `None` or the probability of what was predicted, in the shape of `predicted`.

        Raises:
            TypeError, ValueError: as `kseg.metrics.Confusion.add`.
        """
        before = _areas_of(self.counter)
        self.counter.add(mask, predicted)
        read = _read_labels if isinstance(self.counter, LabelCounts) else _read_ids
        areas = _areas_of(self.counter) - before
        picture = read(areas, mask.reshape(predicted.shape)[0], predicted[0])
        if confidence is not None:
            self.calibration.add(confidence[0][picture.counted], ~picture.wrong[picture.counted])
        self._areas.append(areas.astype("uint32"))
        if self._boundaries:
            bands, borders = _boundary_counts(picture)
            self._bands.append(bands.astype("uint32"))
            self._borders.append(borders.astype("uint32"))
        return picture

    def pictures(self, names: list[str], seconds: list[float]) -> Pictures:
        """Return the counts of each picture, with its name and its time."""
        bands, borders = (np.stack(each) if each else None for each in (self._bands, self._borders))
        return Pictures(names, np.stack(self._areas), bands, borders, np.array(seconds))


def _areas_of(counter):
    """Return the areas of `Pictures` of all that was counted, int64 `(4, num_classes)`."""
    if isinstance(counter, LabelCounts):
        return np.stack([counter.both, counter.true, counter.predicted, counter.counted])
    true = counter.true_counts
    both, predicted = np.diagonal(counter.matrix), counter.matrix.sum(0)
    return np.stack([both, true, predicted, np.full_like(true, true.sum())])


def _read_ids(areas, mask, predicted):
    num_classes = areas.shape[1]
    counted = (mask >= 0) & (mask < num_classes)  # void is never one of the classes
    is_class = (predicted >= 0) & (predicted < num_classes)
    true, guess = np.where(counted, mask, num_classes), np.where(is_class, predicted, num_classes)
    return Counted(areas, true.astype("int32"), guess.astype("int32"), counted)


def _read_labels(areas, mask, predicted):
    return Counted(areas, mask == 1, predicted == 1, (mask == 0) | (mask == 1))


def _boundary_counts(picture):
    arrays = picture.true, picture.predicted, picture.counted
    if picture.counted.ndim == 3:
        return label_counts(*arrays)
    num_classes = picture.areas.shape[1]
    return band_counts(*arrays, num_classes), border_counts(*arrays, num_classes)
