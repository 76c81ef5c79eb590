"""What losses and layers ask: which replica this is, sums over all, and whether its pictures count."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from kseg.types import Tensor

# Each replica is traced in a thread of its own. `counts`: 1, or 0 where the batch only stands in for none.
_step = threading.local()


def num_replicas() -> int:
    """Return how many replicas train in step in the scope that is open."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_context() -> Any:
    """Return TensorFlow's replica context when several replicas run in step, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def builds_for_replicas() -> bool:
    """Tell whether Keras traces the model only to build it, under a strategy and before the first step.

    Under a strategy that is not of `kseg.strategy` it takes the mean of the replicas' batches for that, so
    integer masks come as floats: only shapes count.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return (
        not tf.executing_eagerly()
        and tf.distribute.has_strategy()
        and tf.distribute.in_cross_replica_context()
    )


@contextlib.contextmanager
def counting(counts: Tensor) -> Iterator[None]:
    """Within this context the pictures of this replica count `counts` times: a scalar tensor, 0 or 1."""
    _step.counts = counts
    try:
        yield
    finally:
        _step.counts = None


def mask_placeholder(tensor: Tensor) -> Tensor:
    """Return `tensor`, times 0 in a replica whose picture only stands in for an empty batch."""
    counts = getattr(_step, "counts", None)
    return tensor if counts is None else tensor * ops.cast(counts, tensor.dtype)


def sum_over_replicas(tensor: Tensor) -> Tensor:
    """Return the sum of `tensor` over all replicas; the gradient flows back through the sum."""
    context = replica_context()
    return tensor if context is None else context.all_reduce("SUM", tensor)


def mean_over_replicas(tensor: Tensor, count: Tensor) -> Tensor:
    """Return the mean of `tensor` over all replicas, each weighted by its own `count`."""
    if replica_context() is None:
        return tensor
    count = mask_placeholder(ops.cast(count, tensor.dtype))
    total, count = ops.unstack(sum_over_replicas(ops.stack([tensor * count, count])), 2)
    return ops.divide_no_nan(total, count)


def moments_over_replicas(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of `x` over `axes` and all replicas, each pixel counting alike."""
    sums = mask_placeholder(ops.sum(x, axes))  # (C,)
    count = mask_placeholder(ops.cast(ops.size(x) // sums.shape[0], x.dtype))
    sums = sum_over_replicas(ops.concatenate([sums, ops.reshape(count, [1])]))
    mean, count = sums[:-1] / sums[-1], sums[-1]
    # Around the mean: the difference of two large sums would lose what it is about.
    shape = [1 if axis in axes else -1 for axis in range(len(x.shape))]
    squares = mask_placeholder(ops.sum(ops.square(x - ops.reshape(mean, shape)), axes))
    return mean, sum_over_replicas(squares) / count


def gather_from_replicas(tensor: Tensor) -> Tensor:
    """Return the tensors of all replicas one after the other, along the first axis; no gradient flows."""
    context = replica_context()
    return tensor if context is None else context.all_gather(tensor, axis=0)


def local_slice(tensor: Tensor, size: Tensor) -> Tensor:
    """Return the part of this replica, `size` long, of a tensor in the order of `gather_from_replicas`."""
    context = replica_context()
    if context is None:
        return tensor
    sizes = context.all_gather(ops.reshape(size, [1]), axis=0)
    earlier = ops.arange(context.num_replicas_in_sync) < context.replica_id_in_sync_group
    start = ops.sum(ops.where(earlier, sizes, 0))
    return tensor[start : start + size]


def replica_share(value: Tensor) -> Tensor:
    """Return what one replica must hand to Keras' trainer so that the replicas add up to `value`."""
    context = replica_context()
    return value if context is None else value / context.num_replicas_in_sync
