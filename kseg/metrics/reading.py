"""What every metric shares: its arguments, and how it reads masks and scores."""

import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kseg.checks import check_class_names, is_count
from kseg.masks import checked_void, class_ids, is_void, to_mask, void_beside
from kseg.metrics.arrays import warn_of_void_foreground
from kseg.targets import holds_ids, labels_checked, rows_checked, size_checked, sizes_agree
from kseg.types import IgnoreClass, Tensor
from kseg.xla import fused


class MaskMetric(keras.metrics.Metric):
    """A metric of class ids, or of several labels per pixel. Subclasses give `count` and `result`.

    More is better: Keras' callbacks find that out by themselves, for an entry of a class too. `ignore_class`
    must lie outside the classes; 255, the default, is `None` for more than 255 classes.

    Args:
        num_classes: 2 or more; 2 for a model with one output channel. With `multilabel` 1 or more labels.
        ignore_class: one id, several, or `None`: ids that are left out.
        class_names: `None` or one name per class.
        from_logits: whether a single channel, or each label, holds logits (else a probability).
        name: of the metric.
        multilabel: takes several labels per pixel.
    """

    class_key = ""  # where `result` is a dict with class names, how the entry of a class begins

    def __init__(
        self,
        num_classes: int,
        ignore_class: IgnoreClass,
        class_names: Sequence[str] | None,
        from_logits: bool,
        name: str,
        dtype: str | keras.DTypePolicy | None,
        multilabel: bool = False,
    ) -> None:
        super().__init__(name=_NameOfEntries(name, self._entries(class_names)), dtype=dtype)
        self._direction = "up"  # what Keras' callbacks ask for
        least = 1 if multilabel else 2
        if not is_count(num_classes) or num_classes < least:
            raise ValueError(
                f"num_classes must be an int of {least} or more (2 for one output channel of one class "
                f"per pixel), got {num_classes!r}"
            )
        check_class_names(class_names, num_classes)
        self.num_classes = num_classes
        self.multilabel = bool(multilabel)
        ignore_class = checked_void(ignore_class)
        self.ignore_class = void_beside(ignore_class, 2 if multilabel else num_classes)
        self.class_names = None if class_names is None else list(class_names)
        self.from_logits = from_logits
        self.outside = self.add_counts((), "outside")
        self.pixels = self.add_counts((), "pixels")  # void and those outside too
        self._warned = False

    def _entries(self, class_names):
        return [f"{self.class_key}_{name}" for name in class_names or [] if self.class_key]

    def add_counts(self, shape: tuple[int, ...], name: str) -> keras.Variable:
        """Return a variable of zeros that is summed over replicas."""
        return self.add_variable(shape, "zeros", dtype="int64", aggregation="sum", name=name)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            y_true: ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`, void all zeros; with
                `multilabel` `(B, H, W, C)` of 0, 1 and void.
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
        read = self._labels if self.multilabel else self._ids
        true, predicted, void, outside = read(ops.convert_to_tensor(y_true), y_pred)
        self.outside.assign_add(ops.cast(ops.sum(ops.cast(outside, "int32")), "int64"))
        self.pixels.assign_add(ops.cast(ops.size(true), "int64"))
        self.count(true, predicted, ops.logical_not(ops.logical_or(void, outside)))

    def count(self, true: Tensor, predicted: Tensor, counted: Tensor) -> None:
        """Add ids, or labels.

        Args:
            true: int32 ids `(B, H, W)`, classes where `counted`; or bool labels `(B, H, W, C)`.
            predicted: int32 ids, `num_classes` where it is no class; or bool labels.
            counted: bool, where the truth is neither void nor something else.
        """
        raise NotImplementedError

    def true_counts(self) -> Tensor:
        """Return how many pixels of the truth each class has, int64 `(num_classes,)`."""
        raise NotImplementedError

    def _labels_off(self):
        """Return how many labels of the truth are off, `None` in a metric that does not count them."""

    def warn_of_masks(self) -> None:
        """Warn once, outside of graphs, where masks held class 0 and void alone, or ids that are no class."""
        if self._warned:
            return
        counts = [_numpy_of(each) for each in (self.true_counts(), self.pixels, self.outside)]
        if any(each is None for each in counts):  # while a graph is built
            return
        true, pixels, outside = counts
        if outside:
            warnings.warn(
                f"{self.name}: {int(outside)} pixels of the masks hold ids that are neither a class nor void "
                "and count nowhere (under XLA the loss is then NaN): map them to a class or to ignore_class",
                UserWarning,
                stacklevel=3,
            )
        if self.multilabel:
            true = np.array([self._labels_off() or 0, true.sum()])  # and those that are on
        self._warned = bool(outside) or (
            len(true) == 2 and warn_of_void_foreground(true, pixels - outside - true.sum(), self.ignore_class)
        )

    def _is_class(self, ids):
        return ops.logical_and(ids >= 0, ids < self.num_classes)

    def _ids(self, y_true, y_pred):
        """Return true ids, predicted ids, and where the truth is void or no class, `(B, H, W)` each."""
        true, predicted, void = self._true_and_predicted(y_true, y_pred)
        outside = ops.logical_not(ops.logical_or(self._is_class(true), void))
        return true, ops.where(self._is_class(predicted), predicted, self.num_classes), void, outside

    def _true_and_predicted(self, y_true, y_pred):
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
        self._check_channels(y_pred, (self.num_classes, 1) if self.num_classes == 2 else (self.num_classes,))
        predicted = _arg_max(y_pred) if y_pred.shape[-1] > 1 else _by_sign(y_pred, self.from_logits)
        with_ids = holds_ids(y_true, y_pred)
        y_true = size_checked(y_true, y_pred)
        if with_ids:
            true = class_ids(y_true, len(y_true.shape) == 4)
            return true, predicted, is_void(true, self.ignore_class)
        target, valid, wrong = rows_checked(y_true)
        true = ops.where(wrong, -1, to_mask(target))
        return true, predicted, ops.logical_not(ops.logical_or(valid, wrong))

    def _labels(self, y_true, y_pred):
        """Return true labels, predicted ones, and where the truth is void or neither, `(B, H, W, C)` each."""
        scores = ops.cast(y_pred, "float32")
        target, valid, wrong = labels_checked(y_true, scores, self.ignore_class)
        self._check_channels(scores, (self.num_classes,))
        true = target > 0.5
        predicted = scores > (0.0 if self.from_logits else 0.5)
        predicted = ops.where(scores != scores, ops.logical_not(true), predicted)  # NaN is never right
        return true, predicted, ops.logical_not(valid), wrong

    def _check_channels(self, y_pred, known):
        if y_pred.shape[-1] not in known:
            raise ValueError(
                f"{self.name} has num_classes={self.num_classes}, y_pred has {y_pred.shape[-1]} channels"
            )

    def get_config(self) -> dict[str, Any]:
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "class_names": self.class_names,
            "from_logits": self.from_logits,
            "name": str(self.name),
            "dtype": self.dtype,
            "multilabel": self.multilabel,
        }


class _NameOfEntries(str):
    """The name of a metric, which equals those of its entries too: so Keras' callbacks find who made one."""

    entries: frozenset[str]

    def __new__(cls, name, entries=()):
        made = super().__new__(cls, name)
        made.entries = frozenset(entries)
        return made

    def __eq__(self, other):
        return isinstance(other, str) and (str.__eq__(self, other) or str(other) in self.entries)

    def __ne__(self, other):
        return not self == other

    __hash__ = str.__hash__


def _numpy_of(tensor):
    """Return the tensor in NumPy, `None` where it has no value yet."""
    try:
        return ops.convert_to_tensor(tensor).numpy()
    except (AttributeError, NotImplementedError):  # while a graph is built; on JAX
        return None


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


def mean_by_class(metric: MaskMetric, part: Tensor, whole: Tensor) -> Any:
    """Return the mean of `part / whole` over the classes whose `whole` is not 0.

    With class names: a dict of the mean, of `pixels_outside`, and of each class as `<class_key>_<name>`, 0
    where the class never appeared.
    """
    metric.warn_of_masks()
    shares = part / ops.maximum(whole, 1.0)
    present = ops.cast(whole > 0, "float32")
    mean = ops.divide_no_nan(ops.sum(shares * present), ops.sum(present))
    if metric.class_names is None:
        return mean
    names = [f"{metric.class_key}_{name}" for name in metric.class_names]
    by_name = {name: shares[index] for index, name in enumerate(names)}
    return {str(metric.name): mean, "pixels_outside": ops.cast(metric.outside, "float32"), **by_name}


def nan_where_absent(part: Tensor, whole: Tensor) -> Tensor:
    """Return `part / whole`, NaN where `whole` is 0."""
    return ops.where(whole > 0, part / ops.maximum(whole, 1.0), float("nan"))
