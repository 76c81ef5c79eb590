"""What every loss of kseg's is: it reads targets, void and weights, and sums over replicas."""

from typing import Any

import numpy as np
from keras import ops

from kseg.losses.combining import Combinable
from kseg.masks import checked_void, class_ids, holds_ids, ids_checked, is_void, size_checked, sizes_agree
from kseg.replicas import (
    mask_placeholder,
    replica_share,
)
from kseg.types import ClassWeights, IgnoreClass, Tensor


class MaskLoss(Combinable):
    """What the losses share: reading the target, void, class weights. Subclasses give `value`."""

    def __init__(
        self,
        ignore_class: IgnoreClass = 255,
        class_weights: ClassWeights = None,
        from_logits: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.ignore_class = checked_void(ignore_class)
        self.class_weights = _checked_weights(class_weights)
        self.from_logits = from_logits

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        scores = ops.cast(ops.convert_to_tensor(y_pred), "float32")
        if len(scores.shape) == 5:
            raise ValueError(
                f"y_pred {tuple(scores.shape)} holds auxiliary heads: train with kseg.compile(model) or "
                f"loss=kseg.losses.Auxiliary(loss)"
            )
        y_true = ops.convert_to_tensor(y_true)
        with_ids = holds_ids(y_true, scores)
        y_true = size_checked(y_true, scores)
        if scores.shape[-1] == 1:  # binary: the missing class 0 has logit 0
            other = ops.zeros_like(scores) if self.from_logits else 1 - scores
            scores = ops.concatenate([other, scores], axis=-1)
        if self.class_weights is not None and len(self.class_weights) != scores.shape[-1]:
            raise ValueError(
                f"class_weights has {len(self.class_weights)} weights for {scores.shape[-1]} classes"
            )
        if with_ids:
            target = class_ids(y_true, len(y_true.shape) == 4)
            valid = ops.logical_not(is_void(target, self.ignore_class))
            target, outside = ids_checked(ops.where(valid, target, 0), scores.shape[-1])
        else:
            target = ops.cast(y_true, "float32")
            valid = ops.sum(target, axis=-1) > 0  # void is a row of zeros
        valid = mask_placeholder(ops.cast(valid, "float32"))  # (B, H, W)
        value = self.value(target, scores, valid, _pixel_weights(sample_weight, valid))
        if with_ids:  # an id that is no class must not pass for a pixel without one, where nothing checks
            value = ops.where(outside, float("nan"), value)
        return replica_share(value)

    def value(self, target: Tensor, scores: Tensor, valid: Tensor, weight: Tensor) -> Tensor:
        """Return the scalar loss over all replicas.

        Args:
            target: int32 ids `(B, H, W)`, void replaced by 0; or float32 `(B, H, W, C)`.
            scores: float32 `(B, H, W, C)`, logits or probabilities.
            valid: float32 `(B, H, W)`, 0 at void and 1 elsewhere.
            weight: `valid` times the sample weights.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
            "from_logits": self.from_logits,
            "name": self.name,
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


def _pixel_weights(sample_weight, valid):
    """Return `valid` times the weights, which are `(B,)`, `(B, H, W)` or `(B, H, W, 1)`."""
    if sample_weight is None:
        return valid
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
    weight = size_checked(weight, valid, axes)
    return valid * (weight[:, None, None] if axes == 1 else weight)
