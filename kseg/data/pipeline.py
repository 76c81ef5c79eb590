"""The last steps that every source shares: shuffle, load, augment, batch."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.checks import is_count
from kseg.data.augmentation.adapting import adapted
from kseg.data.dataset import SegmentationDataset
from kseg.data.epochs import Epochs
from kseg.data.resizing import resize_pair, some_pairs
from kseg.masks import void_ids

# Threads that decode: with more than there are cores, one that waits for a core holds Python's lock.
_THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_AHEAD = 2  # batches


def batches(
    count: int,
    read: Callable[..., tuple[np.ndarray, np.ndarray]],
    *,
    class_names: Sequence[str],
    channels: int = 3,
    dtype: str = "uint8",
    size: tuple[int, int] | None = None,
    image_size: tuple[int, int] | None = None,
    augment: Any = None,
    ignore_class: int | Sequence[int] | None = 255,
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
        read: function of an index that returns a picture `(H, W, channels)` and its integer ids `(H, W)`.
        class_names: one per class.
        channels: of a picture.
        dtype: of a picture: `"uint8"`, or `"float32"`, values 0–255.
        size: `(H, W)` of all pictures, where they have one size.
        image_size: `(H, W)` to which every picture is brought, before it is augmented.
        augment: `None`, or as for `kseg.data.from_directory`.
        ignore_class: void.
        batch_size: `None` for single pictures.
        shuffle: draw an order; the last, smaller batch is then left out, unless it is the only one.
        seed: 0 or more.
        seeded: whether `read` takes the seed of its item too, two int64, as it draws by itself.
        facts: what else the dataset tells, as `SegmentationDataset` lists it.
    """
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(f"batch_size must be a positive int or None, got {batch_size!r}")
    epochs = Epochs(count, shuffle, seed)

    if augment is not None:
        augment = adapted(
            augment,
            lambda: some_pairs(read, count, image_size),
            class_names=class_names,
            void=void_ids(ignore_class),
            channels=channels,
            batched=batch_size not in (None, 1),
        )
    in_numpy = image_size is None and augment is not None and augment.takes_arrays and augment.size
    is_whole, rows = shuffle and count >= (batch_size or 1), epochs.dataset()
    if batch_size and (seeded or in_numpy):

        def load(index, draw):
            return read(index, draw) if seeded else augment.on_arrays(*read(index), draw)

        sides = size if seeded else augment.size
        many = _in_batches(load, dtype, (*(sides or ()), channels))
        dataset = rows.batch(batch_size, drop_remainder=is_whole).map(many, _THREADS)
    else:
        shape = (*(size or (None, None)), channels)
        one = _one_by_one(read, seeded, None if seeded else augment, image_size, dtype, shape)
        dataset = rows.map(one, _THREADS)
        if batch_size is not None:
            dataset = dataset.batch(batch_size, drop_remainder=is_whole)
    options = tf.data.Options()
    options.autotune.enabled = False  # what tunes takes turns with what works, at half the rate
    dataset = dataset.prefetch(_AHEAD).with_options(options)
    known = {
        "class_names": list(class_names),
        "num_classes": len(class_names),
        "channels": channels,
        "value_range": None,
        "batch_size": batch_size,
        "epochs": epochs,
    }
    return SegmentationDataset(dataset, known | facts)


def _in_batches(load, dtype, shape):
    """Return the function `(indices, draws) -> (images, masks)` of a batch, read and augmented in NumPy.

    It is one call of Python for a batch: each costs TensorFlow a copy of what it takes and gives.
    """

    def load_all(indices, draws):
        images = np.empty((len(indices), *shape), dtype)
        masks = np.empty(images.shape[:3], "int32")
        for place, (index, draw) in enumerate(zip(indices, draws, strict=True)):
            images[place], masks[place] = load(index, draw)
        return images, masks

    def load_in_graph(indices, draws):
        images, masks = tf.numpy_function(load_all, [indices, draws], (dtype, tf.int32))
        size = indices.shape[0]
        return tf.ensure_shape(images, (size, *shape)), tf.ensure_shape(masks, (size, *shape[:2]))

    return load_in_graph


def _one_by_one(read, seeded, augment, image_size, dtype, shape):
    """Return the function `(index, draw) -> (image, mask)` of one pair, resized and augmented in a graph."""

    def load(index, draw):
        image, mask = read(index, draw) if seeded else read(index)
        return image, mask.astype("int32", copy=False)

    def load_in_graph(index, draw):
        image, mask = tf.numpy_function(load, [index, draw], (dtype, tf.int32))
        image, mask = tf.ensure_shape(image, shape), tf.ensure_shape(mask, shape[:2])
        if image_size is not None:
            image, mask = resize_pair(image, mask, image_size)
        return (image, mask) if augment is None else augment(image, mask, draw)

    return load_in_graph
