"""Joint augmentation of a picture and its mask: geometry for both, colour for the picture alone."""

from collections.abc import Callable

import tensorflow as tf

from kseg.data.pipeline import checked_size
from kseg.data.tensors import check_channels, check_finite, check_pair

# Rec. 601 luma of RGB: what stays when a picture loses its colour.
_LUMA = (0.299, 0.587, 0.114)
_GREY = 127.0  # what lies outside the picture: about 0 after the usual normalisation


def augment(
    crop_size: tuple[int, int],
    *,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    color: float = 0.2,
    ignore_class: int = 255,
) -> Callable:
    """Return a function that augments one picture and its mask.

    It draws a zoom, cuts a window, brings it to `crop_size`, mirrors it, and changes brightness, contrast
    and saturation. The picture is resized bilinearly, the mask by nearest neighbour from the same sample
    points. What falls outside the picture is grey, and void in the mask.

    Args:
        crop_size: `(H, W)` in pixels of what comes out.
        scale: `(smallest, largest)` zoom, drawn log-uniformly; `(1, 1)` only crops.
        flip: mirror left and right half of the time.
        color: in [0, 1), strength of the colour changes; contrast and saturation are scaled by
            1 ± color, brightness moves by ± color of half the range. 0 leaves colour alone.
        ignore_class: the id of void.

    Returns:
        function `(image, mask, seed=None) -> (image, mask)`: `(h, w, C)` uint8, or float of 0–255, and
        `(h, w)` integer → `(H, W, C)` uint8 and `(H, W)` int32; pictures of another range, fractional masks
        and those of another size than their picture are errors. `seed` is an int64 tensor of two numbers that
        fixes the draw; without it every call draws anew. It runs eagerly and in `dataset.map`.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> image, mask = tf.zeros((40, 60, 3), "uint8"), tf.ones((40, 60), "int32")
        >>> image, mask = augment((32, 32))(image, mask)
        >>> image.shape, mask.dtype
        (TensorShape([32, 32, 3]), tf.int32)
    """
    crop_size = checked_size("crop_size", crop_size)
    smallest, largest = _checked_scale(scale)
    if not isinstance(color, int | float) or not 0 <= color < 1:
        raise ValueError(f"color must be a number in [0, 1), got {color!r}")

    def apply(image, mask, seed=None):
        image, mask = check_pair(image, mask)
        if color:
            check_channels(image)
        is_whole = image.dtype.is_integer
        seed = tf.random.uniform((2,), maxval=2**31, dtype=tf.int64) if seed is None else seed
        draws = tf.random.stateless_uniform((7,), seed)
        zoom = smallest * (largest / smallest) ** draws[0]
        image, mask = _crop(image, mask, zoom, draws[1:3], crop_size, ignore_class)
        image = image if is_whole else check_finite(image)
        if flip:
            mirrored = draws[3] < 0.5
            image = tf.where(mirrored, image[:, ::-1], image)
            mask = tf.where(mirrored, mask[:, ::-1], mask)
        if color:
            image = _recolor(image, 1 + color * (2 * draws[4:] - 1))
        return tf.saturate_cast(tf.round(image), tf.uint8), mask

    return apply


def _checked_scale(scale):
    if not isinstance(scale, tuple | list) or len(scale) != 2 or not 0 < scale[0] <= scale[1]:
        raise ValueError(f"scale must be (smallest, largest) with 0 < smallest <= largest, got {scale!r}")
    return scale


def _crop(image, mask, zoom, place, crop_size, ignore_class):
    """Cut the window that the zoom asks for and bring it to `crop_size`, float32 and int32."""
    window = tf.maximum(1, tf.cast(tf.round(tf.cast(crop_size, tf.float32) / zoom), tf.int32))
    size = tf.shape(mask)
    # offsets in the picture; negative ones leave a border outside of it
    low, high = tf.minimum(0, size - window), tf.maximum(0, size - window)
    offset = low + tf.cast(place * tf.cast(high - low + 1, tf.float32), tf.int32)
    start, stop = tf.maximum(offset, 0), tf.minimum(offset + window, size)
    image = tf.cast(image[start[0] : stop[0], start[1] : stop[1]], tf.float32)
    mask = tf.cast(mask[start[0] : stop[0], start[1] : stop[1]], tf.int32)
    before, after = start - offset, offset + window - stop
    border = [[before[0], after[0]], [before[1], after[1]]]
    image = tf.pad(image, [*border, [0, 0]], constant_values=_GREY)
    mask = tf.pad(mask, border, constant_values=ignore_class)
    image = tf.image.resize(image, crop_size, antialias=False)
    mask = tf.image.resize(mask[..., None], crop_size, method="nearest")[..., 0]
    return image, mask


def _recolor(image, factors):
    """Apply saturation, then contrast about the mean, then brightness, as one affine map of the channels."""
    brightness, contrast, saturation = tf.unstack(factors)
    matrix = tf.eye(image.shape[-1])
    if image.shape[-1] == 3:  # other channels have no common grey to go to
        matrix = saturation * matrix + (1 - saturation) * tf.repeat(tf.constant(_LUMA)[:, None], 3, axis=1)
    mixed_mean = tf.linalg.matvec(matrix, tf.reduce_mean(image, axis=(0, 1)), transpose_a=True)
    bias = (1 - contrast) * mixed_mean + (brightness - 1) * 127.5
    return tf.tensordot(image, contrast * matrix, 1) + bias
