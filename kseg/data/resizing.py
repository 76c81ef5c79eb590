"""Pairs of pictures and masks brought to a size."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf


def resize_pair(image: tf.Tensor, mask: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the picture (bilinear, antialiased, of its dtype) and the mask (nearest) at `size`, `(H, W)`."""
    resized = tf.image.resize(image, size, antialias=True)
    mask = tf.image.resize(mask[..., None], size, method="nearest")[..., 0]
    return resized if image.dtype == tf.float32 else tf.saturate_cast(tf.round(resized), tf.uint8), mask


def some_pairs(
    read: Callable[[int], tuple[np.ndarray, np.ndarray]], count: int, image_size: tuple[int, int] | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return up to three of the pairs that a function reads by number, which may be of several sizes."""
    pairs = [read(index) for index in sorted({0, count // 2, count - 1})]
    pairs = [(image, mask.astype("int32")) for image, mask in pairs]
    if image_size is None:
        return pairs
    resized = [resize_pair(image, mask, image_size) for image, mask in pairs]
    return [(image.numpy(), mask.numpy()) for image, mask in resized]
