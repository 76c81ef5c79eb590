"""Losses on integer masks and logits: void left out, normalised over all replicas, never broadcast.

All take `y_true` as ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot or soft targets `(B, H, W, C)`, told apart
by shape, and `y_pred` as `(B, H, W, C)`. One channel is the binary case with ids 0 and 1. An id that is
neither a class nor void makes them NaN, unless TensorFlow raises first. They combine:
`CrossEntropy() + 0.5 * Dice()`.
"""

import keras
import numpy as np
from keras import ops

from kseg.distribution import replica_share, sum_over_replicas
from kseg.masks import class_ids, holds_ids, is_void, size_checked, sizes_agree

_EPSILON = 1e-7


class _Combinable(keras.losses.Loss):
    """A loss with `+` and `*`. The value is a scalar, normalised by the loss itself."""

    def __init__(self, name):
        super().__init__(name=name, reduction="sum")

    def __add__(self, other):
        if not isinstance(other, keras.losses.Loss):
            return NotImplemented
        return WeightedSum([*_parts(self), *_parts(other)])

    def __radd__(self, other):
        return self if other == 0 else self.__add__(other)  # sum() starts at 0

    def __mul__(self, weight):
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.number):
            return NotImplemented
        return WeightedSum([(loss, part * float(weight)) for loss, part in _parts(self)])

    __rmul__ = __mul__


def _parts(loss):
    return loss.parts if isinstance(loss, WeightedSum) else [(loss, 1.0)]


@keras.saving.register_keras_serializable(package="kseg")
class WeightedSum(_Combinable):
    """The sum that `+` and `*` make.

    Args:
        parts: list of `(loss, weight)`.
        name: str.
    """

    def __init__(self, parts, name="weighted_sum"):
        super().__init__(name)
        self.parts = [(keras.losses.get(loss), float(weight)) for loss, weight in parts]

    def __call__(self, y_true, y_pred, sample_weight=None):
        return sum(weight * loss(y_true, y_pred, sample_weight) for loss, weight in self.parts)

    def get_config(self):
        parts = [(keras.saving.serialize_keras_object(loss), weight) for loss, weight in self.parts]
        return {"parts": parts, "name": self.name}

    @classmethod
    def from_config(cls, config):
        parts = [(keras.saving.deserialize_keras_object(loss), weight) for loss, weight in config["parts"]]
        return cls(parts, name=config["name"])


@keras.saving.register_keras_serializable(package="kseg")
class Auxiliary(_Combinable):
    """A loss on the main scores plus `weight` times the same loss on each auxiliary head.

    What a model built with `aux_heads=True` trains with; `kseg.compile` sets it by itself. On plain
    `(B, H, W, C)` scores, as in evaluation, it is the loss itself.

    Reference: Zhao et al. 2017 (PSPNet), section 3.2, weight 0.4.

    Args:
        loss: a `keras.losses.Loss`, its name, or a sum of losses.
        weight: float.
        name: str.

    Example:
        >>> mask, logits = np.array([[[0, 1]]]), np.zeros((1, 1, 2, 2, 2))
        >>> f"{Auxiliary(CrossEntropy())(mask, logits):.4f}"
        '0.9704'
    """

    def __init__(self, loss, weight=0.4, name="auxiliary"):
        super().__init__(name)
        self.loss = keras.losses.get(loss)
        self.weight = float(weight)

    def __call__(self, y_true, y_pred, sample_weight=None):
        if len(y_pred.shape) != 5:
            return self.loss(y_true, y_pred, sample_weight)
        main, *auxiliary = ops.unstack(y_pred, axis=-1)
        value = self.loss(y_true, main, sample_weight)
        for scores in auxiliary:
            value = value + self.weight * self.loss(y_true, scores, sample_weight)
        return value

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {"loss": loss, "weight": self.weight, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


class _MaskLoss(_Combinable):
    """What the losses share: reading the target, void, class weights. Subclasses give `value`."""

    def __init__(self, ignore_class=255, class_weights=None, from_logits=True, name=None):
        super().__init__(name)
        self.ignore_class = ignore_class
        self.class_weights = _checked_weights(class_weights)
        self.from_logits = from_logits

    def __call__(self, y_true, y_pred, sample_weight=None):
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
            target = ops.where(valid, target, 0)
        else:
            target = ops.cast(y_true, "float32")
            valid = ops.sum(target, axis=-1) > 0  # void is a row of zeros
        valid = ops.cast(valid, "float32")  # (B, H, W)
        value = self.value(target, scores, valid, _pixel_weights(sample_weight, valid))
        if with_ids:  # an id that is no class must not pass for a pixel without one
            outside = ops.any(ops.logical_or(target < 0, target >= scores.shape[-1]))
            value = ops.where(outside, float("nan"), value)
        return replica_share(value)

    def value(self, target, scores, valid, weight):
        """Return the scalar loss over all replicas.

        Args:
            target: int32 ids `(B, H, W)`, void replaced by 0; or float32 `(B, H, W, C)`.
            scores: float32 `(B, H, W, C)`, logits or probabilities.
            valid: float32 `(B, H, W)`, 0 at void and 1 elsewhere.
            weight: `valid` times the sample weights.
        """
        raise NotImplementedError

    def get_config(self):
        return {
            "ignore_class": self.ignore_class,
            "class_weights": self.class_weights,
            "from_logits": self.from_logits,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="kseg")
class CrossEntropy(_MaskLoss):
    """Cross-entropy: the sum over all pixels that are not void, divided by their number.

    Differences from `keras.losses.SparseCategoricalCrossentropy(ignore_class=...)`: the number of valid
    pixels is that of the whole batch over all replicas, so one device and several train alike; soft
    targets are taken too. A batch without a valid pixel has loss 0.

    Args:
        ignore_class: int, several ints, or `None`: ids that are left out.
        class_weights: `None` or one float per class; each pixel counts by its class.
        from_logits: whether `y_pred` holds logits (else probabilities).
        name: str.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> mask, logits = np.array([[[0, 255]]]), np.zeros((1, 1, 2, 2))
        >>> f"{CrossEntropy()(mask, logits):.4f}"
        '0.6931'
    """

    def __init__(self, ignore_class=255, class_weights=None, from_logits=True, name="cross_entropy"):
        super().__init__(ignore_class, class_weights, from_logits, name)

    def value(self, target, scores, valid, weight):
        with_ids = len(target.shape) == 3
        if with_ids and self.from_logits:
            losses = ops.sparse_categorical_crossentropy(target, scores, from_logits=True)
        else:
            log_p = ops.log_softmax(scores) if self.from_logits else ops.log(ops.maximum(scores, _EPSILON))
            hot = ops.one_hot(target, scores.shape[-1]) if with_ids else target
            losses = -ops.sum(_weighted(hot, None if with_ids else self.class_weights) * log_p, axis=-1)
        if with_ids and self.class_weights is not None:
            weight = weight * ops.take(ops.convert_to_tensor(self.class_weights, "float32"), target)
        total = ops.stack([ops.sum(losses * weight), ops.sum(valid)])
        total, count = ops.unstack(sum_over_replicas(total), 2)
        return ops.divide_no_nan(total, count)


@keras.saving.register_keras_serializable(package="kseg")
class Dice(_MaskLoss):
    """Soft Dice loss: one minus twice the overlap by the sum of both areas, mean over the classes present.

    Areas are those of the whole batch over all replicas, without void. A class that no valid pixel of the
    batch shows is left out of the mean: it has no overlap to gain.

    Reference: Milletari, Navab, Ahmadi 2016 (V-Net), section 3, with plain instead of squared areas.

    Args:
        ignore_class: int, several ints, or `None`: ids that are left out.
        class_weights: `None` or one float per class: weights of the mean.
        from_logits: whether `y_pred` holds logits (else probabilities).
        smooth: float, pixels, added to both sides of the fraction.
        name: str.

    Raises:
        ValueError: when called on shapes that do not fit; for weights of the wrong number.
        TypeError: when called on a mask of floats.

    Example:
        >>> mask, logits = np.array([[[0, 1]]]), np.array([[[[9.0, -9.0], [-9.0, 9.0]]]])
        >>> f"{Dice()(mask, logits):.4f}"
        '0.0000'
    """

    def __init__(self, ignore_class=255, class_weights=None, from_logits=True, smooth=1.0, name="dice"):
        super().__init__(ignore_class, class_weights, from_logits, name)
        self.smooth = smooth

    def value(self, target, scores, valid, weight):
        num_classes = scores.shape[-1]
        p = ops.softmax(scores) if self.from_logits else scores
        hot = ops.one_hot(target, num_classes) if len(target.shape) == 3 else target
        weight = weight[..., None]
        areas = ops.stack([ops.sum(x * weight, axis=(0, 1, 2)) for x in (hot * p, hot, p)])
        overlap, true_area, area = ops.unstack(sum_over_replicas(areas), 3)  # (C,) each
        dice = (2 * overlap + self.smooth) / (true_area + area + self.smooth)
        share = _weighted(ops.cast(true_area > 0, "float32"), self.class_weights)
        return ops.divide_no_nan(ops.sum(share * (1 - dice)), ops.sum(share))

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth}


def _checked_weights(class_weights):
    if class_weights is None:
        return None
    weights = np.asarray(class_weights, dtype="float64")
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


def _weighted(x, class_weights):
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
