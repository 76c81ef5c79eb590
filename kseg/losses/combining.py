"""How losses combine: sums, auxiliary heads, losses of others under several replicas."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from kseg.replicas import (
    mask_placeholder,
    mean_over_replicas,
    num_replicas,
    replica_context,
    replica_share,
    sum_over_replicas,
)
from kseg.types import Tensor


class Combinable(keras.losses.Loss):
    """A loss with `+`, `-`, `*` and `/`. The value is a scalar, normalised by the loss itself."""

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

    def __truediv__(self, number: float) -> "WeightedSum":
        if isinstance(number, bool) or not isinstance(number, int | float | np.number):
            return NotImplemented
        return self * (1 / float(number))

    def __neg__(self) -> "WeightedSum":
        return self * -1.0

    def __sub__(self, other: keras.losses.Loss) -> "WeightedSum":
        if not isinstance(other, keras.losses.Loss):
            return NotImplemented
        return WeightedSum([*_parts(self), *((loss, -weight) for loss, weight in _parts(other))])

    def __rsub__(self, other: Any) -> "WeightedSum":
        if not isinstance(other, keras.losses.Loss):
            return NotImplemented
        return WeightedSum([*_parts(other), *((loss, -weight) for loss, weight in _parts(self))])


def for_replicas(loss: keras.losses.Loss | str | Callable[..., Any]) -> Combinable:
    """Return `loss`, wrapped in `PerReplica` unless it is one of this package."""
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, Combinable) else PerReplica(loss)


def _parts(loss):
    return loss.parts if isinstance(loss, WeightedSum) else [(loss, 1.0)]


@keras.saving.register_keras_serializable(package="kseg")
class WeightedSum(Combinable):
    """The sum that `+`, `-`, `*` and `/` make.

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
