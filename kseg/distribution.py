"""One device or several: the strategy, and the sum over its replicas that losses need."""

import functools
import json
import os

import keras
from keras import ops


def strategy(devices=None):
    """Return the `tf.distribute` strategy for this machine; build and compile the model in its scope.

    Args:
        devices: `None`: all GPUs there are; or a list such as `["GPU:0", "GPU:1"]` or `["CPU:0", "CPU:1"]`.

    Returns:
        `tf.distribute.MirroredStrategy` for two or more devices, `OneDeviceStrategy` for one that is named,
        else TensorFlow's default strategy, whose scope changes nothing.

    Raises:
        ValueError: for an empty list, for a device that is not there or named twice, or when `TF_CONFIG`
            names several workers, which kseg does not train on yet.

    Example:
        >>> import kseg
        >>> with kseg.strategy().scope():
        ...     model = kseg.build_conv_stack(2, depth=1, filters=4)
    """
    import tensorflow as tf

    workers = _workers()
    if workers > 1:
        raise ValueError(f"TF_CONFIG names {workers} workers; kseg trains on one machine: unset TF_CONFIG")
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    if devices is None:
        gpus = [device for device in known if device.startswith("GPU")]
        return _mirrored(tuple(gpus)) if len(gpus) > 1 else tf.distribute.get_strategy()
    wanted = [str(device).removeprefix("/device:").removeprefix("/").upper() for device in devices]
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
        raise ValueError(
            f"devices must be a list of one or more of {', '.join(known)}, each once, got {devices!r}"
        )
    if len(wanted) == 1:
        return tf.distribute.OneDeviceStrategy(wanted[0])
    return _mirrored(tuple(sorted(wanted)))


@functools.cache
def _mirrored(devices):
    """Return the strategy for `devices`, always the same one.

    TensorFlow numbers the sums over devices anew in each strategy, and refuses a number that it knows from
    an earlier one with another shape.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(devices)


def _workers():
    """Return the number of workers that the environment variable `TF_CONFIG` names."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        return 1
    try:
        cluster = json.loads(text).get("cluster", {})
        return len(cluster.get("worker", [])) + len(cluster.get("chief", [])) or 1
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"TF_CONFIG is not a JSON object with a cluster of lists ({error}); unset it or mend it"
        ) from error


def replicas():
    """Return how many replicas train in step in the scope that is open."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_context():
    """Return TensorFlow's replica context when several replicas run in step, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def builds_for_replicas():
    """Tell whether Keras traces the model only to build it, under a strategy and before the first step.

    For that it takes the mean of the replicas' batches, so integer masks come as floats: only shapes count.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return (
        not tf.executing_eagerly()
        and tf.distribute.has_strategy()
        and tf.distribute.in_cross_replica_context()
    )


def sum_over_replicas(tensor):
    """Return the sum of `tensor` over all replicas; the gradient flows back through the sum."""
    context = replica_context()
    return tensor if context is None else context.all_reduce("SUM", tensor)


def gather_from_replicas(tensor):
    """Return the tensors of all replicas one after the other, along the first axis; no gradient flows."""
    context = replica_context()
    return tensor if context is None else context.all_gather(tensor, axis=0)


def own_part(tensor, size):
    """Return the part of this replica, `size` long, of a tensor in the order of `gather_from_replicas`."""
    context = replica_context()
    if context is None:
        return tensor
    sizes = context.all_gather(ops.reshape(size, [1]), axis=0)
    earlier = ops.arange(context.num_replicas_in_sync) < context.replica_id_in_sync_group
    start = ops.sum(ops.where(earlier, sizes, 0))
    return tensor[start : start + size]


def replica_share(value):
    """Return what one replica must hand to Keras' trainer so that the replicas add up to `value`."""
    context = replica_context()
    return value if context is None else value / context.num_replicas_in_sync
