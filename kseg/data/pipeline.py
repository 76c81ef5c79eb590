"""The last steps that every source shares: shuffle, load, augment, batch."""

import tensorflow as tf


def checked_size(argument, size, smallest=1):
    """Return `size` as the tuple `(H, W)`; raise `ValueError` unless it is two ints from `smallest` on."""
    sides = tuple(size) if isinstance(size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side >= smallest for side in sides):
        raise ValueError(f"{argument} must be (H, W) in pixels, ints of {smallest} or more, got {size!r}")
    return sides


def batches(items, count, load, *, class_names, augment, batch_size, shuffle, seed):
    """Return the `tf.data.Dataset` of batches, with `class_names` and `num_classes` as attributes.

    The same seed gives the same batches in the same order, whatever the number of threads; every epoch
    draws anew.

    Args:
        items: unbatched dataset of what `load` takes, tuples.
        count: int, how many there are.
        load: function `(*item) -> (image, mask)`.
        augment: `None` or a function `(image, mask, seed) -> (image, mask)`.
        batch_size: int, or `None` for single pictures.
        shuffle: bool; the last, smaller batch is then left out, unless it is the only one.
        seed: int.
    """
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size must be a positive int or None, got {batch_size!r}")
    if shuffle:
        items = items.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def one(item, draw):
        image, mask = load(*item)
        return (image, mask) if augment is None else augment(image, mask, draw)

    dataset = tf.data.Dataset.zip(items, seeds).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    if batch_size is not None:
        dataset = dataset.batch(batch_size, drop_remainder=shuffle and count >= batch_size)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    dataset.class_names = list(class_names)
    dataset.num_classes = len(dataset.class_names)
    return dataset
