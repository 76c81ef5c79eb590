"""Losses in which hard pixels count more: cross-entropy of the hardest alone, focal loss."""

from numbers import Integral
from typing import Any

import keras
import numpy as np
from keras import ops

from kseg.losses.pixel import EPSILON, PixelLoss, mean, weighted_sum
from kseg.replicas import gather_from_replicas, sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor


@keras.saving.register_keras_serializable(package="kseg")
class OhemCrossEntropy(PixelLoss):
    """Cross-entropy of the hard pixels alone, chosen anew in every batch (online hard example mining).

    Hard is a pixel whose own class has a probability below `threshold`. Where these are fewer than
    `min_kept`, the `min_kept` pixels of the lowest probability are taken; those that tie for the last places
    share them, each with an equal weight. They are chosen among all replicas, so one device and several train
    alike.

    Reference: Shrivastava, Gupta, Girshick 2016 for the idea; the rule is that of HRNet (Wang et al. 2020),
    with which DDRNet was trained (threshold 0.9).

    Differences from the reference: `min_kept` may be a share; soft targets are taken too; with weights, the
    sum is divided by the number of pixels kept, not by the sum of their weights.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; they do not change which pixels are hard.
        threshold: in (0, 1), probability.
        min_kept: int, pixels of the whole batch; or float in (0, 1], share of its valid pixels.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.
        label_smoothing: in [0, 1), the share of each target that is spread over all classes; it does not
            change which pixels are hard.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; each
            label of each pixel is then what a pixel is here.

    Raises:
        ValueError: for a threshold or `min_kept` out of range; when called on shapes that do not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> from kseg.losses import CrossEntropy
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
        *,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, label_smoothing, multilabel)
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
        kept = valid * self._kept(ops.stop_gradient(self.losses(target, scores, plain=True)), valid)
        weight = kept if weight is valid else weight * kept
        return self.mean_cross_entropy(target, scores, weight, kept)

    def _kept(self, hardness, valid):
        """Return 1 for what is kept, 0 for what is not, and the share of what ties for the last places."""
        everywhere = gather_from_replicas(ops.reshape(ops.where(valid > 0, hardness, -1.0), [-1]))
        everywhere = ops.sort(ops.pad(everywhere, (1, 0), constant_values=-1.0))  # a batch may be empty
        count = sum_over_replicas(ops.sum(valid))
        places = ops.ceil(self.min_kept * count) if isinstance(self.min_kept, float) else self.min_kept
        places = ops.maximum(ops.minimum(ops.cast(places, "float32"), count), 1.0)
        last = ops.take(everywhere, ops.shape(everywhere)[0] - ops.cast(places, "int32"))
        least = ops.minimum(-float(np.log(self.threshold)), last)
        above = ops.cast(ops.logical_not(hardness <= least), "float32")  # NaN is kept
        tied = ops.cast(hardness == least, "float32")
        sums = sum_over_replicas(ops.stack([ops.sum(above * valid), ops.sum(tied * valid)]))
        share = ops.clip(ops.divide_no_nan(places - sums[0], sums[1]), 0.0, 1.0)
        return above + share * tied

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold, "min_kept": self.min_kept}


@keras.saving.register_keras_serializable(package="kseg")
class Focal(PixelLoss):
    """Focal loss: cross-entropy in which well-classified pixels count little, mean over all valid pixels.

    `-(1 - p) ** gamma * log(p)`, p the probability of the pixel's own class.

    Reference: Lin et al. 2017 ("Focal Loss for Dense Object Detection"), equation 4.

    Differences from the reference: softmax over classes instead of one sigmoid each, which `multilabel=True`
    brings back; their alpha is `class_weights`; the sum is divided by the number of valid pixels, not by the
    anchors of objects nor by the sum of weights.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class; each pixel counts by its class.
        gamma: 0 or more; 0 is cross-entropy.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: of the loss.
        label_smoothing: in [0, 1), the share of each target that is spread over all classes.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; the
            mean is over all labels of all pixels, void left out.

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
        *,
        label_smoothing: float = 0.0,
        multilabel: bool = False,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, label_smoothing, multilabel)
        if not gamma >= 0:
            raise ValueError(f"gamma must be 0 or more, got {gamma!r}")
        self.gamma = float(gamma)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        return mean(weighted_sum(self.losses(target, scores, damping=self._damping), weight), valid)

    def _damping(self, log_p):
        # not 0: its power has no slope there
        return ops.power(ops.maximum(-ops.expm1(log_p), EPSILON), self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}
