"""Whether a model is as sure as it is right: its confidence in bins, and the calibration error."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BINS = 15


@dataclass
class Calibration:
    """How often a model is right, by how sure it is: the confidence of the predicted class in equal bins.

    Of several labels per pixel each label of each pixel is one decision, and the confidence that of being on
    or off.

    Reference: Guo et al. 2017 ("On Calibration of Modern Neural Networks"), section 2, equation 3.

    Differences from the reference: pixels are counted instead of pictures.

    Attributes:
        counts: int64 `(15,)`, pixels of each bin; bin `i` holds what is above `i / 15` up to `(i + 1) / 15`.
        right: int64 `(15,)`, those of them whose class is right.
        confidences: float64 `(15,)`, the sum of their confidences.

    Example:
        >>> calibration = Calibration()
        >>> calibration.add(np.array([0.9, 0.9]), np.array([True, False]))
        >>> f"{calibration.error:.2f}"
        '0.40'
    """

    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, "int64"))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS, "int64"))
    confidences: np.ndarray = field(default_factory=lambda: np.zeros(BINS))

    def add(self, confidence: np.ndarray, is_right: np.ndarray) -> None:
        """Add pixels: the confidence of the predicted class, in [0, 1], and whether it is right."""
        bins = np.clip(np.ceil(confidence * np.float32(BINS)).astype("int32") - 1, 0, BINS - 1)
        sums = np.bincount(bins + BINS * is_right, minlength=2 * BINS).reshape(2, BINS)
        self.counts += sums.sum(0)
        self.right += sums[1]
        self.confidences += np.bincount(bins, confidence, minlength=BINS)

    @property
    def accuracy(self) -> np.ndarray:
        """float64 `(15,)`, the share that is right in each bin, NaN where a bin is empty."""
        return self._per_bin(self.right)

    @property
    def confidence(self) -> np.ndarray:
        """float64 `(15,)`, the mean confidence in each bin, NaN where a bin is empty."""
        return self._per_bin(self.confidences)

    @property
    def error(self) -> float:
        """float in [0, 1], the expected calibration error; NaN where no pixel was counted."""
        if not self.counts.any():
            return float("nan")
        return float(np.abs(self.right - self.confidences).sum() / self.counts.sum())

    def _per_bin(self, sums):
        return np.divide(sums, self.counts, out=np.full(BINS, np.nan), where=self.counts > 0)
