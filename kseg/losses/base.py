"""What every loss shares: reading targets, void, weights, replicas, and how losses combine."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from kseg.masks import checked_void, class_ids, holds_ids, ids_checked, is_void, size_checked, sizes_agree
from kseg.replicas import (
    mask_placeholder,
    mean_over_replicas,
    num_replicas,
    replica_context,
    replica_share,
    sum_over_replicas,
)
from kseg.types import ClassWeights, IgnoreClass, Tensor


class Combinable(keras.losses.Loss):
    """A loss with `+` and `*`. The value is a scalar, normalised by the loss itself."""

    def __init__(self, name: str | None) -> None:
        super().__init__(name=name, reduction="sum")

    def __add__(self, other: keras.losses.Loss) -> "WeightedSum":
        if not isinstance(other, keras.losses.Loss):
            return NotImplemented
        return WeightedSum([*_parts(self), *_parts(other)])

    def __radd__(self, other: Any) -> "Combinable":
        return self if other == 0 else self.__add__(other)  # sum() starts at 0

    def __mul__(self, weight: float) -> "WeightedSum":
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            return NotImplemented
        return WeightedSum([(loss, part * float(weight)) for loss, part in _parts(self)])

    __rmul__ = __mul__


def for_replicas(loss: keras.losses.Loss | str | Callable[..., Any]) -> Combinable:
    """Return `loss`, wrapped in `PerReplica` unless it is one of this package."""
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, Combinable) else PerReplica(loss)


def _parts(loss):
    return loss.parts if isinstance(loss, WeightedSum) else [(loss, 1.0)]


@keras.saving.register_keras_serializable(package="kseg")
class WeightedSum(Combinable):
    """The sum that `+` and `*` make.

    Args:
        parts: list of `(loss, weight)`.
        name: of the loss.
    """

    def __init__(self, parts: Sequence[tuple[keras.losses.Loss, float]], name: str = "weighted_sum") -> None:
        super().__init__(name)
        self.parts = [(for_replicas(loss), float(weight)) for loss, weight in parts]

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return sum(weight * loss(y_true, y_pred, sample_weight) for loss, weight in self.parts)

    def get_config(self) -> dict[str, Any]:
        parts = [(keras.saving.serialize_keras_object(loss), weight) for loss, weight in self.parts]
        return {"parts": parts, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        parts = [(keras.saving.deserialize_keras_object(loss), weight) for loss, weight in config["parts"]]
        return cls(parts, name=config["name"])


@keras.saving.register_keras_serializable(package="kseg")
class Auxiliary(Combinable):
    """A loss on the main scores plus `weight` times the same loss on each auxiliary head.

    What a model built with `aux_heads=True` trains with; `kseg.compile` sets it by itself. On plain
    `(B, H, W, C)` scores, as in evaluation, it is the loss itself.

    Reference: Zhao et al. 2017 (PSPNet), "Deep Supervision for ResNet-Based FCN", weight 0.4.

    Args:
        loss: a `keras.losses.Loss`, its name, or a sum of losses.
        weight: of each auxiliary head.
        name: of the loss.

    Example:
        >>> from kseg.losses import CrossEntropy
        >>> mask, logits = np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2, 2))
        >>> f"{Auxiliary(CrossEntropy())(mask, logits):.4f}"
        '0.9704'
    """

    def __init__(
        self, loss: keras.losses.Loss | str | Callable[..., Any], weight: float = 0.4, name: str = "auxiliary"
    ) -> None:
        super().__init__(name)
        self.loss = for_replicas(loss)
        self.weight = float(weight)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        if len(y_pred.shape) != 5:
            return self.loss(y_true, y_pred, sample_weight)
        main, *auxiliary = ops.unstack(y_pred, axis=-1)
        value = self.loss(y_true, main, sample_weight)
        for scores in auxiliary:
            value = value + self.weight * self.loss(y_true, scores, sample_weight)
        return value

    def get_config(self) -> dict[str, Any]:
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"loss": loss, "weight": self.weight, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


@keras.saving.register_keras_serializable(package="kseg")
class PerReplica(Combinable):
    """A loss of Keras or your own, averaged over replicas; `kseg.compile` and sums of losses wrap such ones.

    Keras adds up what the replicas hand in. It divides by their number where a loss gives a value per picture
    or pixel, but not where it gives one number, as `keras.losses.Dice` and most losses written by hand do: on
    two devices these train twice as fast. Here they do not, and a replica counts by its pictures, so that a
    mean over pictures or pixels is that of one device, for every size of the batch. What is not linear in the
    pixels still differs from one device, for each replica sees its own part of the batch; the losses of this
    package see all.

    Args:
        loss: `keras.losses.Loss`, its name, or a function of `y_true` and `y_pred`.
        name: `None` is that of the loss.

    Example:
        >>> loss = PerReplica(lambda y_true, y_pred: ops.mean(y_pred), name="mean_score")
        >>> float(loss(np.zeros((1, 2)), np.ones((1, 2))))
        1.0
    """

    def __init__(self, loss: keras.losses.Loss | str | Callable[..., Any], name: str | None = None) -> None:
        self.loss = keras.losses.get(loss)
        super().__init__(name or getattr(self.loss, "name", None) or self.loss.__name__)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        loss = self.loss if isinstance(self.loss, keras.losses.Loss) else _OfFunction(self.loss)
        value = loss(y_true, y_pred, sample_weight)
        if replica_context() is None:
            return value
        one_number = len(loss.call(y_true, y_pred).shape) == 0
        if not one_number and loss.reduction in (None, "none"):
            return mask_placeholder(value)  # a value per pixel, which Keras adds up
        if not one_number and loss.reduction == "sum":
            return replica_share(sum_over_replicas(mask_placeholder(value)))
        own = value if one_number else value * num_replicas()  # Keras has divided it
        count = ops.shape(y_pred)[0]
        if loss.reduction == "mean_with_sample_weight" and sample_weight is not None and not one_number:
            count = ops.sum(ops.convert_to_tensor(sample_weight))
        return replica_share(mean_over_replicas(own, count))

    def get_config(self) -> dict[str, Any]:
        return {"loss": keras.saving.serialize_keras_object(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


class _OfFunction(keras.losses.Loss):
    def __init__(self, function):
        super().__init__()
        self.call = function


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
            f"{tuple(valid.shape)}, got {shape}"
        )
    weight = size_checked(weight, valid, axes)
    return valid * (weight[:, None, None] if axes == 1 else weight)
