"""Masks: class ids and one-hot targets told apart by shape, void, and the arg-max collapse.

Losses and metrics read every target through this module and `kseg.targets`, so a mask means the same
everywhere.
"""

import functools

import keras
import numpy as np
from keras import ops

from kseg.replicas import builds_for_replicas
from kseg.types import IgnoreClass, Tensor


def one_hot(mask: Tensor, num_classes: int, ignore_class: IgnoreClass = 255) -> Tensor:
    """Turn class ids into one-hot targets; void pixels become all zeros.

    Args:
        mask: `(B, H, W)` or `(H, W)` integer ids, or the same with a last axis of 1.
        num_classes: how many classes there are.
        ignore_class: one id, several, or `None`; 255, the default, is `None` for more than 255 classes.

    Returns:
        float32 tensor `(..., H, W, num_classes)`.

    Raises:
        TypeError: if `mask` is not of an integer dtype.
        ValueError: if `mask` has another shape; if a NumPy `mask` holds ids outside `0..num_classes-1` that
            are not void.

    Example:
        >>> one_hot(np.array([[0, 2, 255]]), 3).numpy()
        array([[[1., 0., 0.],
                [0., 0., 1.],
                [0., 0., 0.]]], dtype=float32)
    """
    shape = tuple(np.shape(mask))
    last_axis_is_one = len(shape) in (3, 4) and shape[-1] == 1
    if len(shape) - last_axis_is_one not in (2, 3):
        raise ValueError(
            f"mask must be ids (B, H, W) or (H, W), or with a last axis of 1, got {shape}; a picture of "
            "colours must become ids first"
        )
    ignore_class = void_for(ignore_class, num_classes)
    ids = class_ids(ops.convert_to_tensor(mask), last_axis_is_one)
    if isinstance(mask, np.ndarray):
        outside = set(np.unique(mask).tolist()) - set(range(num_classes)) - set(void_ids(ignore_class))
        if outside:
            raise ValueError(
                f"mask holds ids {sorted(outside)} outside 0..{num_classes - 1}; map them to a class or to "
                f"ignore_class={ignore_class}"
            )
    void = is_void(ids, ignore_class)
    return ops.one_hot(ops.where(void, -1, ids), num_classes, dtype="float32")


def to_mask(scores: Tensor, from_logits: bool = True) -> Tensor:
    """Collapse scores to class ids: the arg-max over the last axis, the lowest id on a tie.

    Args:
        scores: `(..., num_classes)` logits or probabilities. One channel is the binary case: class 1 where
            the logit is above 0, or the probability above 0.5.
        from_logits: whether a single channel holds logits.

    Returns:
        int32 tensor `(...)`.

    Example:
        >>> to_mask(np.array([[[0.1, 2.0, -1.0], [5.0, 0.0, 5.0]]])).numpy()
        array([[1, 0]], dtype=int32)
    """
    scores = ops.convert_to_tensor(scores)
    if scores.shape[-1] == 1:
        return ops.cast(scores[..., 0] > (0.0 if from_logits else 0.5), "int32")
    # top_k: keras.ops.argmax needs twice the time here, and does not convert to LiteRT
    return ops.cast(ops.top_k(scores, 1)[1][..., 0], "int32")


def count_ids(ids: Tensor, size: int) -> Tensor:
    """Return how often each of `0..size-1` occurs in the int32 tensor `ids`, int64 `(size,)`."""
    ids = ops.reshape(ids, [-1])
    if keras.backend.backend() != "tensorflow":
        return ops.cast(ops.bincount(ids, minlength=size), "int64")
    import tensorflow as tf  # keras.ops.bincount leaves the size open, which XLA refuses

    counts = tf.raw_ops.DenseBincount(input=ids, size=size, weights=tf.zeros([0], tf.int32))
    return tf.cast(counts, tf.int64)


def checked_void(ignore_class: IgnoreClass) -> int | tuple[int, ...] | None:
    """Return `ignore_class` as `None`, an int or a tuple of ints, which a saved file keeps.

    Raises:
        ValueError: for what are no ints.
    """
    if ignore_class is None:
        return None
    ids = np.asarray(ignore_class)
    if ids.ndim > 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"ignore_class must be None, an int or several, got {ignore_class!r}")
    return int(ids) if ids.ndim == 0 else tuple(int(i) for i in ids)


def void_for(ignore_class: IgnoreClass, num_classes: int) -> IgnoreClass:
    """Return `ignore_class`; 255, the default, is `None` where it is one of the classes."""
    return None if num_classes > 255 and void_ids(ignore_class) == (255,) else ignore_class


def void_beside(ignore_class: IgnoreClass, num_classes: int) -> IgnoreClass:
    """Return `void_for(ignore_class, num_classes)`.

    Raises:
        ValueError: if an id is one of the classes, which then could never count.
    """
    ignore_class = void_for(ignore_class, num_classes)
    inside = [void_id for void_id in void_ids(ignore_class) if 0 <= void_id < num_classes]
    if inside:
        raise ValueError(
            f"ignore_class={ignore_class} names {inside} of the classes 0..{num_classes - 1}, which then "
            "never count; map void to an id beyond them, 255 for instance, or give ignore_class=None"
        )
    return ignore_class


def void_ids(ignore_class: IgnoreClass) -> tuple[int, ...]:
    """Return `ignore_class` (`None`, an int or several) as a tuple of ints."""
    if ignore_class is None:
        return ()
    return tuple(int(i) for i in np.atleast_1d(ignore_class))


def is_void(ids: Tensor, ignore_class: IgnoreClass) -> Tensor:
    """Return the bool tensor that is true at void pixels, in the shape of `ids`."""
    void = [ids == void_id for void_id in void_ids(ignore_class)]
    return functools.reduce(ops.logical_or, void) if void else ops.zeros_like(ids, dtype="bool")


def class_ids(mask: Tensor, last_axis_is_one: bool) -> Tensor:
    """Return int32 ids `(..., H, W)` of an integer mask.

    Raises:
        TypeError: if the mask is not of an integer dtype: fractions are no classes.
    """
    dtype = keras.backend.standardize_dtype(mask.dtype)
    if "int" not in dtype and dtype != "bool" and not builds_for_replicas():
        raise TypeError(
            f"a mask holds integer class ids, got dtype {dtype} and shape {tuple(mask.shape)}; cast it to "
            "int32, and resize masks with nearest neighbour only"
        )
    if last_axis_is_one:
        mask = ops.squeeze(mask, -1)
    return ops.cast(mask, "int32")
