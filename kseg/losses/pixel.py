"""Losses that are sums over pixels, and the plainest of them: cross-entropy."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import keras
from keras import ops

from kseg.losses.base import MaskLoss, weighted, without_void
from kseg.losses.sparse import cross_entropies, sum_of_cross_entropies
from kseg.replicas import sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor

EPSILON = 1e-7


class PixelLoss(MaskLoss):
    """A sum over pixels of what their target and the logarithms of their probabilities give."""

    def __init__(
        self,
        ignore_class: IgnoreClass,
        class_weights: ClassWeights,
        from_logits: bool,
        name: str,
        label_smoothing: float,
        multilabel: bool,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, multilabel)
        if not isinstance(label_smoothing, Real) or not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be a share in [0, 1), got {label_smoothing!r}")
        self.label_smoothing: float = float(label_smoothing)

    def losses(
        self,
        target: Tensor,
        scores: Tensor,
        plain: bool = False,
        damping: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the cross-entropy of each pixel, `(B, H, W)`, or of each label, `(B, H, W, C)`.

        Args:
            target: as `value` takes it.
            scores: as `value` takes them.
            plain: without class weights and smoothing.
            damping: a factor for each class, by the logarithm of its probability.
        """
        class_weights = None if plain else self.class_weights
        smoothing = 0.0 if plain else self.label_smoothing
        if self.multilabel:  # a label is there or not: two classes
            target = ops.stack([1 - target, target], axis=-1)
            log_p = _log_probabilities_of_labels(scores, self.from_logits)
        elif len(target.shape) == 3 and self.from_logits and not smoothing:
            losses = cross_entropies(target, scores)
            losses = losses if damping is None else damping(-losses) * losses
            return losses * _weights_of(target, class_weights)
        else:
            target = ops.one_hot(target, scores.shape[-1]) if len(target.shape) == 3 else target
            log_p = _log_probabilities(scores, self.from_logits)
        if smoothing:
            target = target * (1 - smoothing) + smoothing / target.shape[-1]
        terms = target * log_p if damping is None else target * damping(log_p) * log_p
        if self.multilabel:
            return weighted(-ops.sum(terms, axis=-1), class_weights)
        return -ops.sum(weighted(terms, class_weights), axis=-1)

    def mean_cross_entropy(self, target: Tensor, scores: Tensor, weight: Tensor, counted: Tensor) -> Tensor:
        """Return the mean; `weight` is `counted` itself where there are no sample weights."""
        if len(target.shape) == 4 or not self.from_logits or self.label_smoothing:
            return mean(weighted_sum(self.losses(target, scores), weight), counted)
        if weight is not counted or self.class_weights is not None:
            weight = ops.relu(weight) * _weights_of(target, self.class_weights)
        return mean(sum_of_cross_entropies(target, scores, weight), counted)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="kseg")
class CrossEntropy(PixelLoss):
    """Cross-entropy: the sum over all pixels that are not void, divided by their number.

    Differences from `keras.losses.SparseCategoricalCrossentropy(ignore_class=...)`: the number of valid
    pixels is that of the whole batch over all replicas, so one device and several train alike; soft
    targets are taken too. A batch without a valid pixel has loss 0. Differences from PyTorch's: with
    weights, the sum is still divided by the number of pixels, not by the sum of their weights.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; each pixel counts by its class.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.
        label_smoothing: in [0, 1), the share of each target that is spread over all classes.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; the
            mean is over all labels of all pixels, void left out.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask, logits = np.array([[[0, 255]]]), np.zeros((1, 1, 2, 2))
        >>> f"{CrossEntropy()(mask, logits):.4f}"
        '0.6931'
    """

    skips_void = True

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        name: str = "cross_entropy",
        *,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, label_smoothing, multilabel)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        if len(target.shape) == 4 or not self.from_logits or self.label_smoothing:
            scores = without_void(scores, valid)  # else the sum itself leaves them out, in less time
        return self.mean_cross_entropy(target, scores, weight, valid)


def _log_probabilities(scores, from_logits):
    return ops.log_softmax(scores) if from_logits else ops.log(ops.maximum(scores, EPSILON))


def _log_probabilities_of_labels(scores, from_logits):
    """Return those of each label's absence and presence, `(B, H, W, C, 2)`."""
    if from_logits:
        return ops.stack([ops.log_sigmoid(-scores), ops.log_sigmoid(scores)], axis=-1)
    return _log_probabilities(ops.stack([1 - scores, scores], axis=-1), False)


def _weights_of(target, class_weights):
    """Return the weight of each pixel's class, `(B, H, W)`, or 1."""
    return 1.0 if class_weights is None else ops.take(ops.convert_to_tensor(class_weights, "float32"), target)


def weighted_sum(losses: Tensor, weight: Tensor) -> Tensor:
    return ops.sum(ops.where(weight > 0, losses * weight, 0.0))  # void may be infinite


def mean(total: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of `total` over all replicas by the number of pixels that are counted."""
    total, count = ops.unstack(sum_over_replicas(ops.stack([total, ops.sum(counted)])), 2)
    return ops.divide_no_nan(total, count)
