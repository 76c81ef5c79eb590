"""The strategy for what there is: one device, several, or the workers of `TF_CONFIG`."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kseg.distribution.cluster import read_cluster

if TYPE_CHECKING:
    import tensorflow as tf


def strategy(devices: Sequence[str] | None = None) -> "tf.distribute.Strategy":
    """Return the `tf.distribute` strategy for this machine; build and compile the model in its scope.

    Under it `fit`, `evaluate` and `predict` mean the same as on one device: the batch is that of all devices
    together, every batch is split between them whatever its size, and kseg's losses, metrics and batch
    normalisations look at the whole of it.

    With several workers call it first thing in a script, and run the same script on each, with its own
    `task` in `TF_CONFIG`. Each reads all data and takes its part of every batch, so all must see the data in
    the same order: TensorFlow's global seed is set unless it is already; seed what else shuffles. Files
    should be written where `kseg.distribution.is_chief()`. Training within
    `kseg.distribution.lost_workers()` ends with one line when a worker is lost.

    Args:
        devices: `None`: all GPUs there are; or a list such as `["GPU:0", "GPU:1"]` or `["CPU:0", "CPU:1"]`.

    Returns:
        `tf.distribute.MultiWorkerMirroredStrategy` when `TF_CONFIG` names several workers, `MirroredStrategy`
        for two or more devices, `OneDeviceStrategy` for one that is named, else TensorFlow's default
        strategy, whose scope changes nothing.

    Raises:
        ValueError: for an empty list, for a device that is not there or named twice, for a malformed
            `TF_CONFIG`, and for `devices` together with several workers.
        RuntimeError: with several workers, when TensorFlow has already been used; when Keras is of a version
            whose trainer kseg does not know.

    Example:
        >>> import kseg
        >>> with kseg.strategy().scope():
        ...     model = kseg.build_conv_stack(2, depth=1, filters=4)
    """
    import tensorflow as tf

    cluster = read_cluster()
    if cluster is not None:
        if devices is not None:
            raise ValueError(
                f"devices={devices!r} is for one machine, but TF_CONFIG names {len(cluster.addresses)} "
                "workers; leave devices out or unset TF_CONFIG"
            )
        return _multi_worker(cluster)
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    if devices is None:
        gpus = [device for device in known if device.startswith("GPU")]
        return _mirrored(tuple(gpus)) if len(gpus) > 1 else tf.distribute.get_strategy()
    chosen = [str(device).removeprefix("/device:").removeprefix("/").upper() for device in devices]
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(known):
        raise ValueError(
            f"devices must be a list of one or more of {', '.join(known)}, each once, got {devices!r}"
        )
    if len(chosen) == 1:
        patch_trainer()
        return tf.distribute.OneDeviceStrategy(chosen[0])
    return _mirrored(tuple(sorted(chosen)))


def patch_trainer() -> None:
    """Close the gaps of Keras' trainer under several replicas; see `kseg.distribution.keras_trainer`.

    Raises:
        RuntimeError: if Keras is of a version whose trainer kseg does not know.
    """
    from kseg.distribution.keras_trainer import patch  # loads Keras' private module: only where it is needed

    patch()


@functools.cache
def _mirrored(devices):
    """Return the strategy for `devices`, always the same one.

    TensorFlow numbers the sums over devices anew in each strategy, and refuses a number that it knows from
    an earlier one with another shape.
    """
    import tensorflow as tf

    patch_trainer()
    return tf.distribute.MirroredStrategy(devices)


_of_workers: list[Any] = []  # the strategy, once made: a process has one


def _multi_worker(cluster):
    import tensorflow as tf

    if not _of_workers:
        patch_trainer()
        try:
            _of_workers.append(tf.distribute.MultiWorkerMirroredStrategy())
        except RuntimeError as error:
            if "program startup" not in str(error):
                raise
            raise RuntimeError(
                f"TF_CONFIG names {len(cluster.addresses)} workers, but TensorFlow has already been used in "
                "this process: call kseg.strategy() before anything that makes tensors, models or datasets"
            ) from error
        # Workers that shuffle differently would not train on parts of one batch. The seed there is stays;
        # without one it is that which TensorFlow takes beside the seed of a dataset: those shuffle as ever.
        tf.random.set_seed(tf.compat.v1.random.get_seed(0)[0])
    return _of_workers[0]
