"""The order and the draws of each epoch."""

import numpy as np
import tensorflow as tf


class Epochs:
    """What an epoch of a dataset draws: its order and its augmentation follow from the seed and its number.

    So an epoch can be had again, after training was interrupted or to name the files of a batch.

    Args:
        count: items of an epoch.
        shuffle: whether their order is drawn.
        seed: 0 or more.

    Attributes:
        next: int, the number that the next iteration over the dataset takes; then it goes up by one.
    """

    def __init__(self, count: int, shuffle: bool, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be an int of 0 or more, got {seed!r}")
        self.count = count
        self.shuffle = shuffle
        self.seed = seed
        self.next = 0

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices of all items in the order of an epoch, int64 `(count,)`."""
        if not self.shuffle:
            return np.arange(self.count)
        return np.random.default_rng((self.seed, epoch)).permutation(self.count)

    def draws(self, epoch: int) -> np.ndarray:
        """Return the seed of each item's augmentation in an epoch, by its index, int64 `(count, 2)`."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        return rng.integers(0, 2**31, (self.count, 2))

    def dataset(self) -> tf.data.Dataset:
        """Return a `tf.data.Dataset` of `(index, seed)`; each iteration over it is the next epoch."""

        def begin(_):
            return tf.data.Dataset.from_tensor_slices(
                tf.ensure_shape(tf.numpy_function(self._begin, [], tf.int64, stateful=True), (None, 3))
            )

        rows = tf.data.Dataset.range(1).flat_map(begin)
        rows = rows.apply(tf.data.experimental.assert_cardinality(self.count))
        return rows.map(lambda row: (row[0], row[1:]))

    def _begin(self):
        epoch, self.next = self.next, self.next + 1
        order = self.order(epoch)
        return np.concatenate([order[:, None], self.draws(epoch)[order]], axis=1)
