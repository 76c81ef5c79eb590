"""A loss of the borders between classes."""

from typing import Any

import keras
from keras import ops

from kseg.checks import is_count
from kseg.losses.base import MaskLoss, by_channel, weighted
from kseg.replicas import sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor


@keras.saving.register_keras_serializable(package="kseg")
class Boundary(MaskLoss):
    """Boundary loss: one minus a soft F1 of the border pixels, mean over the classes with a true border.

    The border of a class are its pixels near another class, of a mask as of probabilities: what a maximum
    over `width` pixels adds to the complement. Predicted borders are right within `tolerance` of true ones
    and the other way round. It sees nothing else: add it to cross-entropy or Dice.

    Reference: Bokhovkin, Burnaev 2019 ("Boundary Loss for Remote Sensing Imagery Semantic Segmentation"),
    section 3, equations 2 to 7.

    Differences from the reference: sums are those of the whole batch over all replicas, without void; what
    borders on void or on the edge of the picture is no border.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean.
        width: odd int, 3 or more, pixels of the window that finds borders.
        tolerance: odd int, 1 or more, pixels of the window in which borders may differ.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; each
            label has borders of its own.

    Raises:
        ValueError: for windows that are not odd; when called on shapes that do not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[[0, 0, 1, 1]]])
        >>> logits = 99.0 * np.eye(2)[mask]
        >>> f"{Boundary()(mask, logits):.4f} {Boundary()(mask, 0 * logits):.4f}"
        '0.0000 1.0000'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        width: int = 3,
        tolerance: int = 5,
        from_logits: bool = True,
        name: str = "boundary",
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, multilabel)
        for argument, value, least in (("width", width, 3), ("tolerance", tolerance, 1)):
            if not is_count(value) or value < least or value % 2 == 0:
                raise ValueError(f"{argument} must be an odd int of {least} or more, got {value!r}")
        self.width = int(width)
        self.tolerance = int(tolerance)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        num_classes = scores.shape[-1]
        hot = ops.one_hot(target, num_classes) if len(target.shape) == 3 else target
        p = self.probabilities(scores)
        valid, weight = by_channel(valid), by_channel(weight)
        true, guess = (self._border(x, valid) for x in (hot, p))
        near_true, near_guess = (_maximum(x, self.tolerance) for x in (true, guess))
        areas = ops.stack(
            [ops.sum(x * weight, axis=(0, 1, 2)) for x in (guess, guess * near_true, true, true * near_guess)]
        )
        guessed, right, there, found = ops.unstack(sum_over_replicas(areas), 4)  # (C,) each
        precision = ops.divide_no_nan(right, guessed)
        recall = ops.divide_no_nan(found, there)
        f1 = ops.divide_no_nan(2 * precision * recall, precision + recall)
        share = weighted(ops.cast(there > 0, "float32"), self.class_weights)
        return ops.divide_no_nan(ops.sum(share * (1 - f1)), ops.sum(share))

    def _border(self, p, valid):
        others = (1 - p) * valid
        return (_maximum(others, self.width) - others) * valid

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "tolerance": self.tolerance}


def _maximum(x, window):
    return ops.max_pool(x, window, strides=1, padding="same")
