"""What the chief has read from its disk, on every worker."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from kseg.distribution.cluster import is_chief, read_cluster

if TYPE_CHECKING:
    import tensorflow as tf


def from_chief(make: Callable[[], bytes], strategy: "tf.distribute.Strategy") -> bytes:
    """Return on every worker what `make` returns on the chief; on the others it is not called.

    Args:
        make: function without arguments that returns bytes.
        strategy: `tf.distribute.Strategy` of the training.

    Raises:
        ValueError: on every worker, if `make` raises anything on the chief; if the strategy is not of them.
    """
    if read_cluster() is None:
        return make()
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "TF_CONFIG names several workers, but the model was not built for them: build and compile it in "
            "the scope of kseg.strategy()"
        )
    content = _sum(_tried(make) if is_chief() else b"", strategy)
    if content[:1] == b"!":
        raise ValueError(content[1:].decode())
    return content[1:]


def _tried(make):
    try:
        return b"=" + make()
    except Exception as error:  # the others wait for an answer
        return b"!" + str(error).encode()


def _sum(content, strategy):
    """Return the sum over all replicas: the bytes of the only one that has any."""
    size = int(_all_reduced(np.array([len(content)], "int64"), strategy)[0])
    words = np.zeros(-(-size // 4), "int32")
    words.view("uint8")[: len(content)] = np.frombuffer(content, "uint8")
    return _all_reduced(words, strategy).tobytes()[:size]


def _all_reduced(values, strategy):
    import tensorflow as tf

    def add(values):
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group % replicas_here == 0  # the others of this worker add none
        return context.all_reduce("SUM", values * tf.cast(first, values.dtype))

    cluster = read_cluster()
    workers = 1 if cluster is None else len(cluster.addresses)
    replicas_here = strategy.num_replicas_in_sync // workers
    result = tf.function(lambda values: strategy.run(add, args=(values,)))(tf.constant(values))
    return strategy.experimental_local_results(result)[0].numpy()
