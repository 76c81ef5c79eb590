"""Batches of whole pictures: those of one size share one."""

from collections import Counter
from collections.abc import Sequence

import tensorflow as tf

from kseg.types import Size

_LARGEST = 32  # pictures
_SIDE = 2**24  # more than any side in pixels


def batches_of_equal_sizes(dataset: tf.data.Dataset, sizes: Sequence[Size], pixels: int) -> tf.data.Dataset:
    """Return a dataset of whole pictures, one at a time, in batches; pictures of one size share one.

    Scores of a whole data set do not ask in which order pictures come, and a network takes several at once in
    less time than one by one.

    Args:
        dataset: of batches of one picture `(1, H, W, C)` and mask `(1, H, W)`.
        sizes: `(H, W)` of each picture, in any order: Keras asks for the number of batches.
        pixels: a batch has at most so many, but one picture at least.

    Returns:
        `tf.data.Dataset` of `(B, H, W, C)` and `(B, H, W)`, in another order.
    """

    def size_of(image, mask):
        height, width = tf.unstack(tf.shape(image, tf.int64)[:2])
        return height * _SIDE + width

    def count(size):
        return tf.clip_by_value(pixels // ((size // _SIDE) * (size % _SIDE)), 1, _LARGEST)

    def together(size, pictures):
        return pictures.batch(count(size))

    grouped = dataset.unbatch().group_by_window(size_of, together, window_size_func=count)
    number = 0
    for (height, width), pictures in Counter(map(tuple, sizes)).items():
        number -= -pictures // min(max(pixels // (height * width), 1), _LARGEST)
    return grouped.apply(tf.data.experimental.assert_cardinality(number)).prefetch(1)
