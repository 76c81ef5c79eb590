"""Masks: class ids and one-hot targets told apart by shape, void, and the arg-max collapse.

Losses and metrics read every target through this module, so a mask means the same everywhere.
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
        ignore_class: one id, several, or `None`.

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
        raise ValueError(f"mask must be ids (B, H, W) or (H, W), or with a last axis of 1, got {shape}")
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


def sizes_agree(tensor: Tensor, other: Tensor, axes: int = 3) -> bool:
    """Tell whether the first `axes` axes agree as far as they are known while the graph is built."""
    pairs = zip(tensor.shape[:axes], other.shape[:axes], strict=True)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def size_checked(tensor: Tensor, other: Tensor, axes: int = 3) -> Tensor:
    """Return `tensor`; where sizes are known at run time only, its use waits for their check."""
    open_sizes = None in (*tensor.shape[:axes], *other.shape[:axes])
    if not open_sizes or keras.backend.backend() != "tensorflow":
        return tensor
    import tensorflow as tf  # keras.ops has no check that runs with the graph

    check = tf.debugging.assert_equal(
        tf.shape(tensor)[:axes], tf.shape(other)[:axes], "targets, scores and weights differ in size"
    )
    with tf.control_dependencies([check]):
        return tf.identity(tensor)


def ids_checked(target: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return `target` and whether it holds ids that are no class.

    TensorFlow then stops with an error before `target` is used; XLA and other backends leave it to callers.
    """
    lowest, highest = ops.min(target, initial=0), ops.max(target, initial=0)
    outside = ops.logical_or(lowest < 0, highest >= num_classes)
    if keras.backend.backend() != "tensorflow":
        return target, outside
    import tensorflow as tf  # keras.ops has no check that runs with the graph

    message = f"y_true must hold ids 0..{num_classes - 1} or void, got ids between these:"
    mend = "map them to a class or to ignore_class"
    with tf.control_dependencies([tf.debugging.Assert(~outside, [message, lowest, highest, mend])]):
        return tf.identity(target), outside


def holds_ids(y_true: Tensor, y_pred: Tensor) -> bool:
    """Tell ids `(B, H, W)` or `(B, H, W, 1)` (true) from one-hot or soft targets `(B, H, W, C)` (false).

    Raises:
        ValueError: for every other pair of shapes; nothing is ever broadcast.
    """
    true, pred = tuple(y_true.shape), tuple(y_pred.shape)
    same_size = len(pred) == 4 and len(true) in (3, 4) and sizes_agree(y_true, y_pred)
    if same_size and (len(true) == 3 or true[3] == 1):
        return True
    if same_size and true[3] == pred[3]:
        return False
    raise ValueError(
        f"y_true must be ids (B, H, W) or (B, H, W, 1), or one-hot (B, H, W, C), for y_pred (B, H, W, C) of "
        f"the same size; got y_true {true} and y_pred {pred}"
    )
