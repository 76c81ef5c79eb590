"""One picture and its mask as tensors: refused where they are not 0–255, no ids, or do not fit each other."""

from typing import Any

import tensorflow as tf

_DEEP = (tf.uint16, tf.uint32, tf.uint64, tf.int16)  # cameras', scanners' and satellites' numbers
_SAMPLES = 32  # along each side: enough to tell ranges apart, and no time against an augmentation
_NOT_FINITE = "image must hold 0–255, got NaN or infinity; remove them before"


def check_pair(image: Any, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a picture `(h, w, C)` and its mask `(h, w)`; it runs eagerly and in a graph.

    Values are looked at in samples of what is not uint8: a range shows in any of them.

    Args:
        image: uint8, or float or int of 0–255.
        mask: integer ids, `(h, w)` or `(h, w, 1)`.

    Raises:
        ValueError: for what is none of these, or of two sizes; in a graph, where it shows only when it runs,
            `tf.errors.InvalidArgumentError` out of it.
    """
    image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
    if mask.shape.rank == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if image.shape.rank not in (3, None) or mask.shape.rank not in (2, None):
        raise ValueError(
            "expected one picture (h, w, C) and its mask (h, w), without a batch, got shapes "
            f"{image.shape} and {mask.shape}"
        )
    if image.shape.rank is None:
        raise _unknown_channels(image)
    if mask.shape.rank is None:
        raise ValueError(
            "mask must have two axes, got unknown ones; call tf.ensure_shape(mask, (None, None))"
        )
    if mask.dtype.is_floating or mask.dtype.is_complex:
        raise ValueError(
            f"mask must hold integer class ids, got {mask.dtype.name}; resize masks by nearest neighbour and "
            "cast those that are whole"
        )
    if image.dtype in _DEEP or not (image.dtype.is_floating or image.dtype.is_integer):
        raise ValueError(
            f"image must hold 0–255, uint8 or float, got {image.dtype.name}; bring it to 0–255 before"
        )
    checks = [_check_sizes(image, mask)]
    if image.dtype != tf.uint8:
        checks += _check_range(image)
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(image), tf.identity(mask)


def check_channels(image: tf.Tensor) -> None:
    """Raise where a graph does not know how many channels a picture has."""
    if image.shape[-1] is None:
        raise _unknown_channels(image)


def _unknown_channels(image):
    return ValueError(
        f"image must have a known number of channels, got shape {image.shape}; give channels=3 to what "
        "decodes it, or call tf.ensure_shape(image, (None, None, 3))"
    )


def _check_sizes(image, mask):
    words = "the mask must have the height and width of its picture, got mask and picture of"
    size, mask_size = image.shape[:2], mask.shape
    if size.is_fully_defined() and mask_size.is_fully_defined():
        if size != mask_size:
            raise ValueError(f"{words} {mask_size} and {size}")
        return None
    size, mask_size = tf.shape(image)[:2], tf.shape(mask)
    return tf.debugging.Assert(tf.reduce_all(size == mask_size), [words, mask_size, size])


def _check_range(image):
    """Refuse 0–1, −1..1, more than 255, negative values and NaN."""
    size = tf.shape(image)
    step = tf.maximum(1, tf.minimum(size[0], size[1]) // _SAMPLES)
    sample = tf.cast(image[::step, ::step], tf.float32)
    low, high = tf.reduce_min(sample), tf.reduce_max(sample)
    if image.dtype.is_floating:  # a dark picture may have no other than these among the samples
        high = tf.cond(
            (high > 0) & (high <= 1), lambda: tf.cast(tf.reduce_max(image), tf.float32), lambda: high
        )
        fits = (low >= 0) & (high <= 255) & ((high == 0) | (high > 1))
    else:
        fits = (low >= 0) & (high <= 255)
    finite = tf.reduce_all(tf.math.is_finite(sample)) & tf.math.is_finite(high)
    hint = "(multiply 0–1 by 255; bring every other range to 0–255 before)"
    words = "image must hold 0–255, got values from"
    return [_demand(finite, _NOT_FINITE), _demand(fits | ~finite, words, low, "to", high, hint)]


def check_finite(image: tf.Tensor) -> tf.Tensor:
    """Return a float picture; raise where there is NaN or infinity in it."""
    fits = tf.math.is_finite(tf.reduce_sum(image))
    check = _demand(fits, _NOT_FINITE)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(image)


def _demand(condition, *words):
    """Raise with words and numbers unless a condition holds; in a graph return the operator that does."""
    if not tf.executing_eagerly():
        return tf.debugging.Assert(condition, list(words))
    if not condition:
        raise ValueError(" ".join(word if isinstance(word, str) else f"{word.numpy():g}" for word in words))
    return None
