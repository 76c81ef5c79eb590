"""The last steps that every source shares: shuffle, load, augment, batch."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kseg.data.dataset import SegmentationDataset


def checked_size(argument: str, size: Sequence[int], smallest: int = 1) -> tuple[int, int]:
    """Return `size` as the tuple `(H, W)`; raise `ValueError` unless it is two ints from `smallest` on."""
    sides = tuple(size) if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side >= smallest for side in sides):
        raise ValueError(f"{argument} must be (H, W) in pixels, ints of {smallest} or more, got {size!r}")
    return sides


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


def batches(
    count: int,
    read: Callable[..., tuple[np.ndarray, np.ndarray]],
    *,
    class_names: Sequence[str],
    channels: int = 3,
    dtype: str = "uint8",
    size: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    augment: Callable | None,
    batch_size: int | None,
    shuffle: bool,
    seed: int,
    seeded: bool = False,
    **facts: object,
) -> SegmentationDataset:
    """Return the dataset of batches.

    The same seed gives the same batches in the same order, whatever the number of threads; every epoch
    draws anew.

    Args:
        count: of the items.
        read: function of an index that returns a picture `(H, W, channels)` and its ids `(H, W)` int32.
        class_names: one per class.
        channels: of a picture.
        dtype: of a picture: `"uint8"`, or `"float32"`, values 0–255.
        size: `(H, W)` of all pictures, where they have one size.
        image_size: `(H, W)` to which every picture is brought, before it is augmented.
        augment: `(image, mask, seed) -> (image, mask)`.
        batch_size: `None` for single pictures.
        shuffle: draw an order; the last, smaller batch is then left out, unless it is the only one.
        seed: 0 or more.
        seeded: whether `read` takes the seed of its item too, two int64, as it draws by itself.
        facts: what else the dataset tells, as `SegmentationDataset` lists it.
    """
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be a positive int or None, got {batch_size!r}")
    epochs = Epochs(count, shuffle, seed)
    sides = size or (None, None)

    def one(index, draw):
        image, mask = tf.numpy_function(read, [index, draw] if seeded else [index], (dtype, tf.int32))
        image, mask = tf.ensure_shape(image, (*sides, channels)), tf.ensure_shape(mask, sides)
        if image_size is not None:
            image, mask = resize_pair(image, mask, image_size)
        return (image, mask) if augment is None else augment(image, mask, draw)

    dataset = epochs.dataset().map(one, num_parallel_calls=tf.data.AUTOTUNE)
    if batch_size is not None:
        dataset = dataset.batch(batch_size, drop_remainder=shuffle and count >= batch_size)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    known = {
        "class_names": list(class_names),
        "num_classes": len(class_names),
        "channels": channels,
        "value_range": None,
        "batch_size": batch_size,
        "epochs": epochs,
    }
    return SegmentationDataset(dataset, known | facts)


def resize_pair(image: tf.Tensor, mask: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the picture (bilinear, antialiased, of its dtype) and the mask (nearest) at `size`, `(H, W)`."""
    resized = tf.image.resize(image, size, antialias=True)
    mask = tf.image.resize(mask[..., None], size, method="nearest")[..., 0]
    return resized if image.dtype == tf.float32 else tf.saturate_cast(tf.round(resized), tf.uint8), mask
