"""Targets of losses and metrics: their shapes, and values that are neither a class, a label nor void."""

from typing import Any

import keras
from keras import ops

from kseg.masks import is_void
from kseg.types import IgnoreClass, Tensor


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
    message = f"y_true must hold ids 0..{num_classes - 1} or void, got ids between these:"
    hint = "map them to a class or to ignore_class"
    return stop_where(outside, target, message, lowest, highest, hint), outside


def rows_checked(y_true: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return one-hot or soft targets `(B, H, W, C)` in float32, where they are valid and where they are none.

    The row of a pixel adds up to 1, or it is void and all 0. Where it is something else, as in a picture of
    colours or with several labels, TensorFlow stops; XLA and other backends leave it to callers.

    Returns:
        float32 `(B, H, W, C)`, bool `(B, H, W)` and bool `(B, H, W)`.
    """
    target = ops.cast(y_true, "float32")
    sums = ops.sum(target, axis=-1)
    fits = ops.logical_or(ops.abs(sums - 1) <= 0.01, sums == 0)  # a sum of float16 is off by a little
    wrong = ops.logical_not(ops.logical_and(fits, ops.min(target, axis=-1) >= 0))
    message = (
        f"y_true (B, H, W, {target.shape[-1]}) must be one-hot or soft, values of 0 to 1 whose sum is 1 in a "
        "pixel, or 0 where it is void; got sums between these:"
    )
    hint = "turn colours into ids (B, H, W); several labels per pixel need multilabel=True"
    sizes = ops.min(sums, initial=0.0), ops.max(sums, initial=0.0)
    return stop_where(ops.any(wrong), target, message, *sizes, hint), sums > 0.5, wrong


def labels_checked(
    y_true: Tensor, y_pred: Tensor, ignore_class: IgnoreClass
) -> tuple[Tensor, Tensor, Tensor]:
    """Return several labels per pixel, 0 at void, where they are valid, and where they are neither.

    TensorFlow stops where a value is not 0 to 1 and not void; XLA and other backends leave it to callers.

    Returns:
        float32, bool and bool, `(B, H, W, C)` each.

    Raises:
        ValueError: if the shapes differ.
    """
    true, pred = tuple(y_true.shape), tuple(y_pred.shape)
    if len(true) != 4 or len(pred) != 4 or true[3] != pred[3] or not sizes_agree(y_true, y_pred):
        raise ValueError(
            "with multilabel=True y_true must be (B, H, W, C), 0 or 1 for each label, for y_pred "
            f"(B, H, W, C) of the same size; got y_true {true} and y_pred {pred}"
        )
    target = ops.cast(size_checked(y_true, y_pred), "float32")
    valid = ops.logical_not(is_void(target, ignore_class))
    target = ops.where(valid, target, 0.0)
    wrong = ops.logical_not(ops.logical_and(target >= 0, target <= 1))
    message = "with multilabel=True y_true must hold 0, 1 or void, got values between these:"
    sizes = ops.min(target, initial=0.0), ops.max(target, initial=0.0)
    hint = "map them to 0 or 1, or to ignore_class"
    return stop_where(ops.any(wrong), target, message, *sizes, hint), valid, wrong


def stop_where(wrong: Tensor, tensor: Tensor, *message: Any) -> Tensor:
    """Return `tensor`; TensorFlow stops with the parts of `message` before it is used if `wrong` is true."""
    if keras.backend.backend() != "tensorflow":
        return tensor
    import tensorflow as tf  # keras.ops has no check that runs with the graph

    with tf.control_dependencies([tf.debugging.Assert(~wrong, list(message))]):
        return tf.identity(tensor)


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
