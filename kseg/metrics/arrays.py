"""Counts in NumPy, for models that run outside of Keras."""

import warnings

import numpy as np

from kseg.masks import checked_void, void_beside, void_ids
from kseg.types import IgnoreClass


class Confusion:
    """The confusion matrix of masks in NumPy.

    Args:
        num_classes: how many classes there are.
        ignore_class: one id, several, or `None`; 255, the default, is `None` for more than 255 classes.

    Attributes:
        matrix: int64 `(num_classes, num_classes)`, rows truth, columns prediction.
        missed: int64 `(num_classes,)`, pixels of each class whose predicted id is no class.
        outside: int, pixels that are not void and whose true id is no class.
        void: int, pixels that are void.

    Raises:
        ValueError: if `ignore_class` is one of the classes.

    Example:
        >>> confusion = Confusion(2)
        >>> confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 2, 1, 2]]))
        >>> confusion.iou.tolist()
        [0.5, 0.5]
    """

    def __init__(self, num_classes: int, ignore_class: IgnoreClass = 255) -> None:
        self.num_classes = num_classes
        self.ignore_class = void_beside(checked_void(ignore_class), num_classes)
        self.matrix = np.zeros((num_classes, num_classes), "int64")
        self.missed = np.zeros(num_classes, "int64")
        self.outside = 0
        self.void = 0

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
        counted = valid & (mask >= 0) & (mask < self.num_classes)
        columns = self.num_classes + 1
        fits = (predicted >= 0) & (predicted < self.num_classes)
        guesses = np.where(fits, predicted, self.num_classes).astype("int64")
        cells = np.bincount(mask[counted] * columns + guesses[counted], minlength=self.num_classes * columns)
        cells = cells.reshape(self.num_classes, columns)
        self.matrix += cells[:, :-1]
        self.missed += cells[:, -1]
        self.outside += int(valid.sum() - counted.sum())
        self.void += int(valid.size - valid.sum())

    @property
    def true_counts(self) -> np.ndarray:
        """int64 `(num_classes,)`, pixels of the truth."""
        return self.matrix.sum(1) + self.missed

    @property
    def iou(self) -> np.ndarray:
        """float64 `(num_classes,)`, NaN for a class that never appeared."""
        return iou_of(self.matrix, self.missed)


class LabelCounts:
    """Pixels of each label, where a pixel may have several labels or none, in NumPy.

    Args:
        num_classes: how many labels there are.
        ignore_class: one value, several, or `None`: a label that holds it is left out in that pixel.

    Attributes:
        both: int64 `(num_classes,)`, pixels that truth and prediction have.
        true: int64 `(num_classes,)`, those of the truth.
        predicted: int64 `(num_classes,)`, those of the prediction.
        counted: int64 `(num_classes,)`, those that are neither void nor outside.
        outside: int, values of the truth that are neither 0, 1 nor void.
        void: int, values that are void.

    Raises:
        ValueError: if `ignore_class` is 0 or 1.

    Example:
        >>> counts = LabelCounts(2)
        >>> mask = np.array([[[[1, 1], [0, 255]]]])  # (B, H, W, C)
        >>> counts.add(mask, np.array([[[[1, 0], [1, 1]]]]))
        >>> counts.iou.tolist()
        [0.5, 0.0]
    """

    def __init__(self, num_classes: int, ignore_class: IgnoreClass = 255) -> None:
        self.num_classes = num_classes
        self.ignore_class = void_beside(checked_void(ignore_class), 2)
        self.both, self.true, self.predicted, self.counted = np.zeros((4, num_classes), "int64")
        self.outside = self.void = 0

    def add(self, mask: np.ndarray, predicted: np.ndarray) -> None:
        """Add labels `(B, H, W, C)` of the truth, 0, 1 or void, and of the prediction, 0 or 1.

        Raises:
            ValueError: if the shapes differ or their last axis is not `num_classes`.
        """
        if mask.shape != predicted.shape or mask.ndim != 4 or mask.shape[-1] != self.num_classes:
            raise ValueError(
                f"several labels per pixel are (B, H, W, {self.num_classes}) in mask and prediction, got "
                f"{mask.shape} and {predicted.shape}"
            )
        valid = ~np.isin(mask, void_ids(self.ignore_class))
        counted = valid & ((mask == 0) | (mask == 1))
        true, guess = (mask == 1) & counted, (predicted == 1) & counted
        kinds = {"both": true & guess, "true": true, "predicted": guess, "counted": counted}
        for name, where in kinds.items():
            setattr(self, name, getattr(self, name) + where.sum((0, 1, 2)))
        self.outside += int(valid.sum() - counted.sum())
        self.void += int(valid.size - valid.sum())

    @property
    def iou(self) -> np.ndarray:
        """float64 `(num_classes,)`, NaN for a label that never appeared."""
        return _shares(self.both, self.true + self.predicted - self.both)

    @property
    def accuracy(self) -> float:
        """float, the share of all labels of all pixels that are right; NaN where there are none."""
        right = self.counted - self.true - self.predicted + 2 * self.both
        return float(right.sum() / self.counted.sum()) if self.counted.any() else float("nan")


def iou_of(matrix: np.ndarray, missed: np.ndarray | None = None) -> np.ndarray:
    """Return the IoU of each class of a NumPy confusion matrix, float64, NaN where a class never appeared.

    Args:
        matrix: `(num_classes, num_classes)`, rows truth, columns prediction.
        missed: `None` or `(num_classes,)`, pixels of each class whose prediction is no class.
    """
    intersection = np.diagonal(matrix).astype("float64")
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return _shares(intersection, union if missed is None else union + missed)


def _shares(part, whole):
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def warn_of_void_foreground(
    true_counts: np.ndarray, void_count: int, ignore_class: IgnoreClass = 255
) -> bool:
    """Warn if masks of two classes hold class 0 and void 255 alone: the foreground then counts nowhere.

    Of several labels per pixel the two classes are off and on, summed over the labels.

    Args:
        true_counts: pixels of each class in the masks.
        void_count: pixels that are void.
        ignore_class: what is void.

    Returns:
        Whether it warned.

    Example:
        >>> warn_of_void_foreground(np.array([60, 30]), 10)
        False
    """
    absent = len(true_counts) == 2 and true_counts[0] > 0 and true_counts[1] == 0
    if not absent or void_count == 0 or void_ids(ignore_class) != (255,):
        return False
    warnings.warn(
        f"the masks seen so far hold class 0 and void (255) alone: {int(void_count)} pixels count "
        "nowhere; if 255 is the foreground, map it to class 1 (label_map={255: 1}, or mask // 255)",
        UserWarning,
        stacklevel=2,
    )
    return True
