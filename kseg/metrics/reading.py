"""What every metric shares: its arguments, and how it reads masks and scores."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kseg.checks import check_class_names, is_count
from kseg.masks import checked_void, class_ids, is_void, to_mask
from kseg.targets import holds_ids, size_checked, sizes_agree
from kseg.types import IgnoreClass, Tensor
from kseg.xla import fused


class MaskMetric(keras.metrics.Metric):
    """A metric of class ids. Subclasses give `count` and `result`.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class.
        from_logits: whether a single channel holds logits (else a probability); no matter for more channels.
        name: of the metric.
    """

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass,
        class_names: Sequence[str] | None,
        from_logits: bool,
        name: str,
        dtype: str | keras.DTypePolicy | None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        if not is_count(num_classes) or num_classes < 2:
            raise ValueError(
                f"num_classes must be an int of 2 or more (2 for one output channel), got {num_classes!r}"
            )
        check_class_names(class_names, num_classes)
        self.num_classes = num_classes
        self.ignore_class = checked_void(ignore_class)
        self.class_names = None if class_names is None else list(class_names)
        self.from_logits = from_logits
        self.outside = self.add_counts((), "outside")

    def add_counts(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        """Return a variable of zeros that is summed over replicas."""
        return self.add_variable(shape, "zeros", dtype="int64", aggregation="sum", name=name)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            y_true: ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`, void all zeros.
            y_pred: scores `(B, H, W, C)`, or predicted ids `(B, H, W)` of an integer dtype.
            sample_weight: not taken: a pixel counts or is void.
        """
        if sample_weight is not None:
            raise ValueError(
                f"{self.name} counts pixels: it takes no sample_weight; mark pixels void instead"
            )
        y_pred = ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) == 5:
            y_pred = y_pred[..., 0]  # a training step with auxiliary heads: the main scores stand first
        true, predicted, void = self._ids(ops.convert_to_tensor(y_true), y_pred)
        in_range = ops.logical_and(self._is_class(true), self._is_class(predicted))
        counted = ops.logical_and(in_range, ops.logical_not(void))
        outside = ops.logical_not(ops.logical_or(in_range, void))
        self.outside.assign_add(ops.cast(ops.sum(ops.cast(outside, "int32")), "int64"))
        self.count(true, predicted, counted)

    def _is_class(self, ids):
        return ops.logical_and(ids >= 0, ids < self.num_classes)

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        """Add int32 ids `(B, H, W)`; only pixels where `counted` is true are classes and not void."""
        raise NotImplementedError

    def _ids(self, y_true, y_pred):
        """Return true ids, predicted ids and the void mask, `(B, H, W)` each."""
        if len(y_pred.shape) == 3:
            if len(y_true.shape) == 4 and y_true.shape[-1] == 1:
                y_true = ops.squeeze(y_true, -1)
            if len(y_true.shape) != 3 or not sizes_agree(y_true, y_pred):
                raise ValueError(
                    f"for predicted ids {tuple(y_pred.shape)}, y_true must be ids of that size too, got "
                    f"{tuple(y_true.shape)}"
                )
            predicted = class_ids(y_pred, False)
            true = class_ids(size_checked(y_true, y_pred), False)
            return true, predicted, is_void(true, self.ignore_class)
        if y_pred.shape[-1] != self.num_classes and (y_pred.shape[-1], self.num_classes) != (1, 2):
            raise ValueError(
                f"{self.name} has num_classes={self.num_classes}, y_pred has {y_pred.shape[-1]} channels"
            )
        predicted = _arg_max(y_pred) if y_pred.shape[-1] > 1 else _by_sign(y_pred, self.from_logits)
        with_ids = holds_ids(y_true, y_pred)
        y_true = size_checked(y_true, y_pred)
        if with_ids:
            true = class_ids(y_true, len(y_true.shape) == 4)
            return true, predicted, is_void(true, self.ignore_class)
        return to_mask(y_true), predicted, ops.logical_not(ops.any(y_true > 0, axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "class_names": self.class_names,
            "from_logits": self.from_logits,
            "name": self.name,
            "dtype": self.dtype,
        }


def _by_top_k(scores):
    """Return the arg-max, -1 where the scores add up to NaN: that is no class, `to_mask` calls it class 0."""
    ids, marked = to_mask(scores), lambda: ops.where(_sums_to_nan(scores, -1), -1, ids)
    return ops.cond(_sums_to_nan(scores, None), marked, lambda: ids)  # one sum tells, and costs least


def _by_arg_max(scores):
    """Return the same, by XLA in a third of the time."""
    import tensorflow as tf  # keras.ops.argmax ranks -0.0 below 0.0

    return ops.where(_sums_to_nan(scores, -1), -1, tf.argmax(scores, -1, tf.int32))


_arg_max = fused(_by_arg_max, otherwise=_by_top_k)


def _sums_to_nan(scores, axis):
    total = ops.sum(scores, axis=axis)
    return ops.not_equal(total, total)  # isnan refuses integers of open sizes


def _by_sign(scores, from_logits):
    return ops.where(_sums_to_nan(scores, -1), -1, to_mask(scores, from_logits))


def mean_by_class(metric: MaskMetric, key: str, part: Tensor, whole: Tensor) -> Any:
    """Return the mean of `part / whole` over the classes whose `whole` is not 0.

    With class names: a dict of the mean, of `pixels_outside`, and of each class as `<key>_<name>`, 0 where
    the class never appeared.
    """
    shares = part / ops.maximum(whole, 1.0)
    present = ops.cast(whole > 0, "float32")
    mean = ops.divide_no_nan(ops.sum(shares * present), ops.sum(present))
    if metric.class_names is None:
        return mean
    by_name = {f"{key}_{name}": shares[index] for index, name in enumerate(metric.class_names)}
    return {metric.name: mean, "pixels_outside": ops.cast(metric.outside, "float32"), **by_name}


def nan_where_absent(part: Tensor, whole: Tensor) -> Tensor:
    """Return `part / whole`, NaN where `whole` is 0."""
    return ops.where(whole > 0, part / ops.maximum(whole, 1.0), float("nan"))
