"""Losses of overlapping areas: Tversky's index and its two best-known cases."""

from typing import Any

import keras
from keras import ops

from kseg.losses.base import MaskLoss, by_channel, weighted
from kseg.replicas import sum_over_replicas
from kseg.types import ClassWeights, IgnoreClass, Tensor


class _Region(MaskLoss):
    """One minus `(o + s) / (o + alpha * fp + beta * fn + s)`, mean over the classes that the batch shows.

    `o`, `fp` and `fn` are sums of probabilities over the whole batch and all replicas, without void.
    """

    def __init__(
        self,
        ignore_class: IgnoreClass,
        class_weights: ClassWeights,
        from_logits: bool,
        smooth: float,
        name: str,
        include_background: bool,
        multilabel: bool,
    ) -> None:
        super().__init__(ignore_class, class_weights, from_logits, name, multilabel)
        if not smooth >= 0:
            raise ValueError(f"smooth must be 0 or more pixels, got {smooth!r}")
        if multilabel and not include_background:
            raise ValueError(
                "include_background=False leaves class 0 out, but with multilabel=True channel 0 is a label "
                "like the others; leave include_background=True"
            )
        self.smooth = smooth
        self.include_background = bool(include_background)

    def mean_loss(
        self,
        target: Tensor,
        scores: Tensor,
        valid: Tensor,
        weight: Tensor,
        alpha: float,
        beta: float,
        smooth: float,
        gamma: float = 1.0,
    ) -> Tensor:
        num_classes = scores.shape[-1]
        p = self.probabilities(scores)
        if len(target.shape) == 3:
            areas = _areas_of_ids(target, p, valid, weight)
        else:
            by_class = by_channel(weight)
            areas = [ops.sum(x * by_class, axis=(0, 1, 2)) for x in (target * p, target, p)]
        if self.multilabel:
            areas.append(ops.sum(valid, axis=(0, 1, 2)))
        overlap, true_area, area, *seen = ops.unstack(sum_over_replicas(ops.stack(areas)), len(areas))  # (C,)
        # One class per pixel: a false pixel of an absent class costs the class that it belongs to. Of several
        # labels none would pay for it, so absent ones count too.
        present = ops.cast((seen[0] if seen else true_area) > 0, "float32")
        losses = _loss_of(overlap, true_area, area, alpha, beta, smooth)
        if gamma != 1:
            losses = ops.power(ops.maximum(losses, 1e-7), gamma)  # not 0: its power has no slope there
        share = weighted(present, self.class_weights)
        if not self.include_background:
            share = share * ops.cast(ops.arange(num_classes) > 0, "float32")
        return ops.divide_no_nan(ops.sum(share * losses), ops.sum(share))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "smooth": self.smooth,
            "include_background": self.include_background,
        }


def _areas_of_ids(target, p, valid, weight):
    """Return overlap, true and predicted area of each class, each `(C,)`, of ids `(B, H, W)`.

    One product of matrices gives them, `(C, pixels)` by `(pixels, C)`, and one gives their slopes: products
    and sums pixel by pixel take three times as long.
    """
    num_classes = p.shape[-1]
    hot = ops.one_hot(ops.where(valid > 0, target, -1), num_classes)  # 0 in every class at void
    hot = hot if weight is valid else hot * weight[..., None]
    hot = ops.reshape(hot, (-1, num_classes))
    shared = ops.matmul(ops.transpose(hot), ops.reshape(p, (-1, num_classes)))  # (true, predicted)
    return [ops.diagonal(shared), ops.sum(hot, axis=0), ops.sum(shared, axis=0)]


def _loss_of(overlap, true_area, area, alpha, beta, smooth):
    """Return the loss of each class, `(C,)`: 0 and without a slope where it is nowhere, by both areas."""
    whole = overlap + alpha * (area - overlap) + beta * (true_area - overlap) + smooth
    divisible = ops.logical_not(whole <= 1e-30)  # below, its inverse is infinite; NaN stays NaN
    losses = 1 - ops.where(divisible, overlap + smooth, 0.0) / ops.where(divisible, whole, 1.0)
    nowhere = ops.logical_and(ops.logical_not(divisible), true_area == 0)
    return ops.where(nowhere, 0.0, losses)


@keras.saving.register_keras_serializable(package="kseg")
class Dice(_Region):
    """Soft Dice loss: one minus twice the overlap by the sum of both areas, mean over the classes present.

    Areas are those of the whole batch over all replicas, without void. A class that no valid pixel of the
    batch shows is left out of the mean: it has no overlap to gain.

    Reference: Milletari, Navab, Ahmadi 2016 (V-Net), section 3.

    Differences from the reference: plain instead of squared areas; several classes; `smooth`.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean.
        from_logits: whether `y_pred` holds logits (else probabilities).
        smooth: pixels, added to both sides of the fraction.
        name: of the loss.
        include_background: where false, class 0 is left out of the mean: the foreground alone.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; a
            label that the batch does not show then counts too, for no other would pay for its false pixels.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask, logits = np.array([[[0, 1]]]), np.array([[[[9.0, -9.0], [-9.0, 9.0]]]])
        >>> f"{Dice()(mask, logits):.4f}"
        '0.0000'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        smooth: float = 1.0,
        name: str = "dice",
        *,
        include_background: bool = True,
        multilabel: bool = False,
    ) -> None:
        super().__init__(
            ignore_class, class_weights, from_logits, smooth, name, include_background, multilabel
        )

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        return self.mean_loss(target, scores, valid, weight, alpha=0.5, beta=0.5, smooth=self.smooth / 2)


@keras.saving.register_keras_serializable(package="kseg")
class Jaccard(_Region):
    """Soft Jaccard loss: one minus the overlap by the union of both areas, mean over the classes present.

    Areas are those of the whole batch over all replicas, without void; a class that no valid pixel of the
    batch shows is left out.

    Reference: Rahman, Wang 2016 ("Optimizing Intersection-Over-Union"), equation 3.

    Differences from the reference: several classes; `smooth`.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean.
        from_logits: whether `y_pred` holds logits (else probabilities).
        smooth: pixels, added to both sides of the fraction.
        name: of the loss.
        include_background: where false, class 0 is left out of the mean: the foreground alone.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; a
            label that the batch does not show then counts too, for no other would pay for its false pixels.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask, logits = np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2))
        >>> f"{Jaccard(smooth=0)(mask, logits):.4f}"
        '0.6667'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        smooth: float = 1.0,
        name: str = "jaccard",
        *,
        include_background: bool = True,
        multilabel: bool = False,
    ) -> None:
        super().__init__(
            ignore_class, class_weights, from_logits, smooth, name, include_background, multilabel
        )

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        return self.mean_loss(target, scores, valid, weight, alpha=1.0, beta=1.0, smooth=self.smooth)


@keras.saving.register_keras_serializable(package="kseg")
class Tversky(_Region):
    """Tversky loss: Dice in which missed pixels and false ones weigh differently; focal with `gamma`.

    One minus `overlap / (overlap + alpha * false positives + beta * false negatives)`, mean over the classes
    present in the whole batch. `alpha = beta = 0.5` is Dice, 1 is Jaccard; a larger beta finds more of what
    is small.

    Reference: Salehi, Erdogmus, Gholipour 2017, equation 4; focal: Abraham, Khan 2019, equation 4, whose
    exponent `1 / gamma` is `gamma` here (0.75 in their experiments).

    Differences from the reference: areas are summed over the batch; the mean is over the classes present.

    Args:
        ignore_class: one id, several, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean.
        alpha: weight of false positives.
        beta: weight of false negatives.
        gamma: above 0, exponent of each class's loss.
        from_logits: whether `y_pred` holds logits (else probabilities).
        smooth: pixels, added to both sides of the fraction.
        name: of the loss.
        include_background: where false, class 0 is left out of the mean: the foreground alone.
        multilabel: takes several labels per pixel, by sigmoid: targets `(B, H, W, C)` of 0, 1 or void; a
            label that the batch does not show then counts too, for no other would pay for its false pixels.

    Raises:
        ValueError: for negative weights or gamma; when called on shapes that do not fit.
        TypeError: when called on a mask of floats.

    Example:
        >>> import numpy as np
        >>> mask, logits = np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2))
        >>> f"{Tversky(smooth=0)(mask, logits):.4f} {Tversky(gamma=0.75, smooth=0)(mask, logits):.4f}"
        '0.5000 0.5946'
    """

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        from_logits: bool = True,
        smooth: float = 1.0,
        name: str = "tversky",
        *,
        include_background: bool = True,
        multilabel: bool = False,
    ) -> None:
        super().__init__(
            ignore_class, class_weights, from_logits, smooth, name, include_background, multilabel
        )
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0 and gamma > 0):
            raise ValueError(
                f"alpha and beta must be 0 or more, not both 0, and gamma above 0, got {alpha!r}, {beta!r} "
                f"and {gamma!r}"
            )
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        return self.mean_loss(target, scores, valid, weight, self.alpha, self.beta, self.smooth, self.gamma)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
