"""Losses that are sums over pixels: cross-entropy, of the hardest pixels only, focal."""

from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from kseg.losses.base import MaskLoss, weighted
from kseg.losses.sparse import cross_entropies, sum_of_cross_entropies
from kseg.replicas import gather_from_replicas, sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor

_EPSILON = 1e-7


@keras.saving.register_keras_serializable(package="kseg")
class CrossEntropy(MaskLoss):
    """Cross-entropy: the sum over all pixels that are not void, divided by their number.

    Differences from `keras.losses.SparseCategoricalCrossentropy(ignore_class=...)`: the number of valid
    pixels is that of the whole batch over all replicas, so one device and several train alike; soft
    targets are taken too. A batch without a valid pixel has loss 0.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; each pixel counts by its class.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> mask, logits = np.array([[[0, 255]]]), np.zeros((1, 1, 2, 2))
        >>> f"{CrossEntropy()(mask, logits):.4f}"
        '0.6931'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        name: str = "cross_entropy",
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        return _mean_cross_entropy(self, target, scores, weight, valid)


@keras.saving.register_keras_serializable(package="kseg")
class OhemCrossEntropy(MaskLoss):
    """Cross-entropy of the hard pixels alone, chosen anew in every batch (online hard example mining).

    Hard is a pixel whose own class has a probability below `threshold`. Where these are fewer than
    `min_kept`, the `min_kept` pixels of the lowest probability are taken. They are chosen among all replicas,
    so one device and several train alike.

    Reference: Shrivastava, Gupta, Girshick 2016 for the idea; the rule is that of HRNet (Wang et al. 2020),
    with which DDRNet was trained (threshold 0.9).

    Differences from the reference: `min_kept` may be a share; soft targets are taken too.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; they do not change which pixels are hard.
        threshold: in (0, 1), probability.
        min_kept: int, pixels of the whole batch; or float in (0, 1], share of its valid pixels.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.

    Raises:
        ValueError: for a threshold or `min_kept` out of range; when called on shapes that do not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> mask, logits = np.array([[[0, 0]]]), np.array([[[[9.0, 0.0], [0.0, 9.0]]]])  # the second is wrong
        >>> f"{CrossEntropy()(mask, logits):.2f} {OhemCrossEntropy()(mask, logits):.2f}"
        '4.50 9.00'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        threshold: float = 0.7,
        min_kept: float = 0.0625,
        from_logits: bool = True,
        name: str = "ohem_cross_entropy",
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be a probability in (0, 1), got {threshold!r}")
        whole = isinstance(min_kept, Integral)
        if isinstance(min_kept, bool) or not min_kept > 0 or (not whole and min_kept > 1):
            raise ValueError(
                f"min_kept must be a positive int, in pixels, or a share in (0, 1], got {min_kept!r}"
            )
        self.threshold = float(threshold)
        self.min_kept = int(min_kept) if whole else float(min_kept)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        hardness = ops.stop_gradient(_cross_entropies(target, scores, self.from_logits, None))
        least = ops.minimum(-float(np.log(self.threshold)), self._least_kept(hardness, valid))
        kept = valid * ops.cast(ops.logical_not(hardness < least), "float32")  # NaN is kept
        weight = kept if weight is valid else weight * kept
        return _mean_cross_entropy(self, target, scores, weight, kept)

    def _least_kept(self, hardness, valid):
        """Return the loss of the last pixel that is kept where only `min_kept` of all replicas are."""
        everywhere = gather_from_replicas(ops.reshape(ops.where(valid > 0, hardness, -1.0), [-1]))
        everywhere = ops.sort(ops.pad(everywhere, (1, 0), constant_values=-1.0))  # a batch may be empty
        count = sum_over_replicas(ops.sum(valid))
        kept = ops.ceil(self.min_kept * count) if isinstance(self.min_kept, float) else self.min_kept
        kept = ops.cast(ops.maximum(ops.minimum(ops.cast(kept, "float32"), count), 1.0), "int32")
        return ops.take(everywhere, ops.shape(everywhere)[0] - kept)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold, "min_kept": self.min_kept}


@keras.saving.register_keras_serializable(package="kseg")
class Focal(MaskLoss):
    """Focal loss: cross-entropy in which well-classified pixels count little, mean over all valid pixels.

    `-(1 - p) ** gamma * log(p)`, p the probability of the pixel's own class.

    Reference: Lin et al. 2017 ("Focal Loss for Dense Object Detection"), equation 4.

    Differences from the reference: softmax over classes instead of one sigmoid each; their alpha is
    `class_weights`; the sum is divided by the valid pixels, not by the anchors of objects.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; each pixel counts by its class.
        gamma: 0 or more; 0 is cross-entropy.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.

    Raises:
        ValueError: for a negative gamma; when called on shapes that do not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> mask, logits = np.array([[[0, 255]]]), np.zeros((1, 1, 2, 2))
        >>> f"{Focal()(mask, logits):.4f}"  # a quarter of 0.6931
        '0.1733'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        gamma: float = 2.0,
        from_logits: bool = True,
        name: str = "focal",
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name)
        if not gamma >= 0:
            raise ValueError(f"gamma must be 0 or more, got {gamma!r}")
        self.gamma = float(gamma)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        if len(target.shape) == 3:
            plain = _cross_entropies(target, scores, self.from_logits, None)
            losses = self._damping(-plain) * plain * _weights_of(target, self.class_weights)
        else:
            log_p = _log_probabilities(scores, self.from_logits)
            losses = -ops.sum(weighted(target, self.class_weights) * self._damping(log_p) * log_p, axis=-1)
        return _mean(_weighted_sum(losses, weight), valid)

    def _damping(self, log_p):
        # not 0: its power has no slope there
        return ops.power(ops.maximum(-ops.expm1(log_p), _EPSILON), self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}


def _log_probabilities(scores, from_logits):
    return ops.log_softmax(scores) if from_logits else ops.log(ops.maximum(scores, _EPSILON))


def _cross_entropies(target, scores, from_logits, class_weights):
    """Return the cross-entropy of each pixel, `(B, H, W)`, times the weight of its class."""
    if len(target.shape) == 4:
        return -ops.sum(weighted(target, class_weights) * _log_probabilities(scores, from_logits), axis=-1)
    if from_logits:
        losses = cross_entropies(target, scores)
    else:
        hot = ops.one_hot(target, scores.shape[-1])
        losses = -ops.sum(hot * _log_probabilities(scores, from_logits), axis=-1)
    return losses * _weights_of(target, class_weights)


def _weights_of(target, class_weights):
    """Return the weight of each pixel's class, `(B, H, W)`, or 1."""
    return 1.0 if class_weights is None else ops.take(ops.convert_to_tensor(class_weights, "float32"), target)


def _mean_cross_entropy(loss, target, scores, weight, counted):
    """Return the mean cross-entropy; `weight` is `counted` itself where there are no sample weights."""
    if len(target.shape) == 4 or not loss.from_logits:
        losses = _cross_entropies(target, scores, loss.from_logits, loss.class_weights)
        return _mean(_weighted_sum(losses, weight), counted)
    if weight is not counted or loss.class_weights is not None:
        weight = ops.relu(weight) * _weights_of(target, loss.class_weights)
    return _mean(sum_of_cross_entropies(target, scores, weight), counted)


def _weighted_sum(losses, weight):
    return ops.sum(ops.where(weight > 0, losses * weight, 0.0))  # void may be infinite


def _mean(total, counted):
    """Return the sum of `total` over all replicas by the number of pixels that are counted."""
    total, count = ops.unstack(sum_over_replicas(ops.stack([total, ops.sum(counted)])), 2)
    return ops.divide_no_nan(total, count)
