"""What every loss of kseg's is: it reads targets, void and weights, and sums over replicas."""

from typing import Any

import numpy as np
from keras import ops

from kseg.losses.combining import Combinable
from kseg.masks import checked_void, class_ids, is_void, void_beside
from kseg.replicas import mask_placeholder, replica_share
from kseg.targets import (
    holds_ids,
    ids_checked,
    labels_checked,
    rows_checked,
    size_checked,
    sizes_agree,
    stop_where,
)
from kseg.types import ClassWeights, IgnoreClass, Tensor


class MaskLoss(Combinable):
    """What the losses share: reading the target, void, class weights. Subclasses give `value`.

    `ignore_class` must lie outside the classes; 255, the default, is `None` for more than 255 classes.
    """

    skips_void = False  # whether `value` itself keeps void out, whatever its scores are

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        name: str | None = None,
        multilabel: bool = False,
    ) -> None:
        super().__init__(name)
        self.ignore_class = checked_void(ignore_class)
        self.class_weights = _checked_weights(class_weights)
        self.from_logits = from_logits
        self.multilabel = bool(multilabel)
        if self.multilabel:
            void_beside(self.ignore_class, 2)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        scores = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        if len(scores.shape) == 5:
            raise ValueError(
                f"y_pred {tuple(scores.shape)} holds auxiliary heads: train with kseg.compile(model) or "
                f"loss=kseg.losses.Auxiliary(loss)"
            )
        y_true = ops.convert_to_tensor(y_true)
        if self.multilabel:
            target, valid, wrong = labels_checked(y_true, scores, self.ignore_class)
        else:
            target, scores, valid, wrong = self._one_class_each(y_true, scores)
        if self.class_weights is not None and len(self.class_weights) != scores.shape[-1]:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} weights for {scores.shape[-1]} classes"
            )
        valid = mask_placeholder(ops.cast(valid, "float32"))
        weight, negative = _pixel_weights(sample_weight, valid)
        if not self.skips_void:
            scores = without_void(scores, valid)
        value = self.value(target, scores, valid, weight)
        # What is no target or no weight must not pass for one, where nothing checks.
        wrong = ops.any(wrong) if negative is None else ops.logical_or(ops.any(wrong), negative)
        return replica_share(ops.where(wrong, float("nan"), value))

    def _one_class_each(self, y_true, scores):
        """Return the target, the scores of two channels or more, the valid pixels, and what is no target."""
        with_ids = holds_ids(y_true, scores)
        y_true = size_checked(y_true, scores)
        if scores.shape[-1] == 1:  # binary: the missing class 0 has logit 0
            other = ops.zeros_like(scores) if self.from_logits else 1 - scores
            scores = ops.concatenate([other, scores], axis=-1)
        ignore_class = void_beside(self.ignore_class, scores.shape[-1])
        if not with_ids:
            target, valid, wrong = rows_checked(y_true)
            return target, scores, valid, wrong
        target = class_ids(y_true, len(y_true.shape) == 4)
        valid = ops.logical_not(is_void(target, ignore_class))
        target, outside = ids_checked(ops.where(valid, target, 0), scores.shape[-1])
        return target, scores, valid, outside

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities of the scores, `(B, H, W, C)`."""
        if not self.from_logits:
            return scores
        return ops.sigmoid(scores) if self.multilabel else ops.softmax(scores)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        """Return the scalar loss over all replicas.

        Args:
            target: int32 ids `(B, H, W)`, void replaced by 0; or float32 `(B, H, W, C)`.
            scores: float32 `(B, H, W, C)`, logits or probabilities; 0 at void, but for `skips_void`.
            valid: float32 `(B, H, W)`, 0 at void and 1 elsewhere; `(B, H, W, C)` with `multilabel`.
            weight: `valid` times the sample weights.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
            "from_logits": self.from_logits,
            "name": self.name,
            "multilabel": self.multilabel,
        }


def _checked_weights(class_weights):
    if class_weights is None:
        return None
    try:
        weights = np.asarray(class_weights, dtype="float64")
    except (TypeError, ValueError):
        weights = np.array(np.nan)
    if (
        weights.ndim != 1
        or not np.all(np.isfinite(weights))
        or np.any(weights < 0)
        or not np.any(weights > 0)
    ):
        raise ValueError(
            f"class_weights must be one finite float >= 0 per class, not all 0, got {class_weights}"
        )
    return weights.tolist()


def weighted(x: Tensor, class_weights: ClassWeights) -> Tensor:
    return x if class_weights is None else x * ops.convert_to_tensor(class_weights, "float32")


def by_channel(pixels: Tensor) -> Tensor:
    """Return what `(B, H, W)` or `(B, H, W, C)` pixels are beside scores `(B, H, W, C)`."""
    return pixels if len(pixels.shape) == 4 else pixels[..., None]


def without_void(scores: Tensor, valid: Tensor) -> Tensor:
    """Return the scores, 0 at void: NaN times 0 would be NaN, in the value as in the slope."""
    return ops.where(by_channel(valid) > 0, scores, 0.0)


def _pixel_weights(sample_weight, valid):
    """Return `valid` times the weights, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, and whether one is below 0."""
    if sample_weight is None:
        return valid, None
    weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    shape = tuple(weight.shape)
    if len(shape) == 4 and shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    axes = len(weight.shape)
    if axes not in (1, 3) or not sizes_agree(weight, valid, axes):
        raise ValueError(
            f"sample_weight must be (B,), (B, H, W) or (B, H, W, 1) for y_pred of the size "
            f"{tuple(valid.shape)}, got {shape}; class_weight of fit does not know masks: give "
            "class_weights to the loss"
        )
    negative = ops.logical_not(ops.all(weight >= 0))  # NaN is none either
    lowest = ops.min(weight, initial=0.0)
    weight = stop_where(negative, weight, "sample_weight must be 0 or more, got", lowest)
    weight = size_checked(weight, valid, axes)
    weight = weight[:, None, None] if axes == 1 else weight
    return valid * (weight[..., None] if len(valid.shape) == 4 else weight), negative
