"""The worst and the best pictures of an evaluation, kept small while it goes on."""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import cv2
import numpy as np

from kseg.evaluation.counting import Counted
from kseg.evaluation.scores import scores_of
from kseg.visualization import as_rgb

LONGEST_SIDE = 480  # pixels of what is kept


@dataclass(frozen=True)
class Sample:
    """A picture of an evaluation, its longer side at most 480 pixels.

    Attributes:
        name: str, of its file.
        mean_iou: float, over the classes that truth or prediction have in it.
        picture: uint8 `(H, W, 3)`.
        true: int32 ids `(H, W)`, -1 where it is void or no class. Of several labels the first that is on.
        predicted: int32 ids `(H, W)`, -1 where it is no class; likewise.
        wrong: bool `(H, W)`, where the prediction is another; of several labels any of them.
        confidence: `None` or float32 `(H, W)`, the probability of what was predicted; of several labels the
            lowest.
    """

    name: str
    mean_iou: float
    picture: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    wrong: np.ndarray
    confidence: np.ndarray | None


class Samples:
    """Keeps the pictures with the lowest and the highest mean IoU, two of three the lowest.

    Args:
        count: how many pictures are kept.
    """

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"samples must be 0 or more pictures, got {count!r}")
        self._lowest, self._highest = count - count // 3, count // 3
        self._kept: list[tuple[float, int, Sample]] = []  # by mean IoU, the worst first

    def offer(
        self, index: int, name: str, picture: np.ndarray, counted: Counted, confidence: np.ndarray | None
    ) -> None:
        """Keep a picture if it is one of the worst or best so far.

        Args:
            index: its number.
            name: of its file.
            picture: `(H, W, C)`, values 0–255.
            counted: what was counted in it.
            confidence: `None` or `(H, W)`, of several labels `(H, W, C)`.
        """
        labels = counted.counted.ndim == 3
        score = float(scores_of(counted.areas, None, None, labels)["mean_iou"])
        if np.isnan(score):
            return
        place = bisect.bisect([each[:2] for each in self._kept], (score, index))
        full = len(self._kept) == self._lowest + self._highest
        if full and place == self._lowest:  # between the worst and the best
            return
        self._kept.insert(place, (score, index, _sample(name, score, picture, counted, confidence)))
        if full:
            del self._kept[self._lowest]

    @property
    def worst(self) -> tuple[Sample, ...]:
        """The worst pictures, the worst first."""
        return tuple(sample for _, _, sample in self._kept[: self._lowest])

    @property
    def best(self) -> tuple[Sample, ...]:
        """The best pictures that are none of the worst, the best first."""
        return tuple(sample for _, _, sample in self._kept[self._lowest :][::-1])


def _sample(name, score, picture, counted, confidence):
    height, width = counted.counted.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))  # as OpenCV wants it
    true, predicted, wrong = counted.true, counted.predicted, counted.wrong
    if counted.counted.ndim == 3:
        wrong = wrong.any(-1)
        true, predicted = (_first_label(labels) for labels in (true & counted.counted, predicted))
        confidence = None if confidence is None else confidence.min(-1)
    else:
        num_classes = counted.areas.shape[1]
        true, predicted = (np.where(ids < num_classes, ids, -1) for ids in (true, predicted))
    nearest = [
        cv2.resize(each.astype(kind), size, interpolation=cv2.INTER_NEAREST)
        for each, kind in (
            (true, "float32"),
            (predicted, "float32"),
            (wrong, "uint8"),
        )  # whole numbers, exactly
    ]
    shown = cv2.resize(as_rgb(picture), size, interpolation=cv2.INTER_AREA)
    if confidence is not None:
        confidence = cv2.resize(confidence.astype("float32"), size, interpolation=cv2.INTER_AREA)
    true, predicted = (each.astype("int32") for each in nearest[:2])
    return Sample(name, score, shown, true, predicted, nearest[2] > 0, confidence)


def _first_label(labels):
    """Return the first label that is on, -1 where none is."""
    return np.where(labels.any(-1), labels.argmax(-1), -1)
