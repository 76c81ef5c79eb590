"""Counts in NumPy, for models that run outside of Keras."""

import numpy as np

from kseg.masks import void_ids
from kseg.types import IgnoreClass


class Confusion:
    """The confusion matrix of masks in NumPy.

    Args:
        num_classes: how many classes there are.
        ignore_class: one id, several, or `None`.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction.
        outside: int, pixels that are not void and whose true or predicted id is no class.
    """

    def __init__(self, num_classes: int, ignore_class: IgnoreClass = 255) -> None:
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self.matrix = np.zeros((num_classes, num_classes), "int64")
        self.outside = 0

    def add(self, mask: np.ndarray, predicted: np.ndarray) -> None:
        """Add ids `(..., H, W)` of the truth and of the prediction; axes of 1 do not matter.

        Raises:
            TypeError: if the mask is not of an integer dtype.
            ValueError: if the sizes differ.
        """
        if mask.dtype.kind not in "iub":
            raise TypeError(f"a mask holds integer class ids, got dtype {mask.dtype}")
        if np.squeeze(mask).shape != np.squeeze(predicted).shape:
            raise ValueError(f"mask {mask.shape} and prediction {predicted.shape} differ in size")
        mask = mask.reshape(predicted.shape).astype("int64")
        valid = ~np.isin(mask, void_ids(self.ignore_class))
        inside = valid.copy()
        for ids in (mask, predicted):
            inside &= (ids >= 0) & (ids < self.num_classes)
        cells = mask[inside] * self.num_classes + predicted[inside]
        self.matrix += np.bincount(cells, minlength=self.matrix.size).reshape(self.matrix.shape)
        self.outside += int(valid.sum() - inside.sum())


def iou_of(matrix: np.ndarray) -> np.ndarray:
    """Return the IoU of each class of a NumPy confusion matrix, float64, NaN where a class never appeared."""
    intersection = np.diagonal(matrix).astype("float64")
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)
