"""Pictures brought to the size of a model, and its scores back: as kseg does it, and as MediaPipe does it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import tensorflow as tf

from kseg.types import Size

Resize = Literal["antialias", "bilinear"]

_STEPS = 32  # to which OpenCV rounds the distance to a pixel


def shrink(images: np.ndarray, size: Size, how: Resize = "antialias") -> np.ndarray:
    """Bring pictures to a size.

    Args:
        images: `(B, H, W, C)`, values 0–255.
        size: `(h, w)` in pixels.
        how: `"antialias"` means over all pixels that a new one covers, so that thin things stay. `"bilinear"`
            does what MediaPipe's `ImageSegmenter` does before a `.tflite` file: it takes the mean of four
            pixels around `(i * H / h, j * W / w)`, at distances of 1/32 pixel, rounded to whole numbers.

    Returns:
        float32 `(B, h, w, C)`.

    Raises:
        ValueError: for another `how`.

    Example:
        >>> shrink(np.arange(8.0).reshape(1, 1, 8, 1), (1, 2), "bilinear").ravel()
        array([0., 4.], dtype=float32)
    """
    images = np.asarray(images, "float32")
    if how == "antialias":
        return tf.image.resize(images, size, antialias=True).numpy()
    _check(how)
    for axis, count in zip((1, 2), size, strict=True):
        side = images.shape[axis]
        steps = np.rint(np.arange(count) * (side / count) * _STEPS).astype(int)
        images = _between(images, axis, steps // _STEPS, (steps % _STEPS) / np.float32(_STEPS))
    return np.floor(images + 0.5)


def enlarge(scores: np.ndarray, size: Size, how: Resize = "antialias") -> np.ndarray:
    """Bring scores back to the size of the pictures.

    Args:
        scores: `(B, h, w, classes)`, as the file gives them: before a softmax that it lacks.
        size: `(H, W)` in pixels.
        how: as for `shrink`. `"bilinear"` does what MediaPipe does before it takes the arg-max for its
            category mask: the first pixel lies on the first, the last on the last. (Its confidence masks
            are probabilities enlarged as `"antialias"` enlarges: by the centres of pixels.)

    Returns:
        float32 `(B, H, W, classes)`.

    Raises:
        ValueError: for another `how`.

    Example:
        >>> enlarge(np.array([0.0, 1.0]).reshape(1, 1, 2, 1), (1, 3), "bilinear").ravel()
        array([0. , 0.5, 1. ], dtype=float32)
    """
    scores = np.asarray(scores, "float32")
    if how == "antialias":
        return tf.image.resize(scores, size).numpy()
    _check(how)
    for axis, count in zip((1, 2), size, strict=True):
        side = scores.shape[axis]
        places = np.arange(count, dtype="float32") * np.float32((side - 1) / max(count - 1, 1))
        scores = _between(scores, axis, places.astype(int), places % 1)
    return scores


def enlarge_rows(scores: np.ndarray, size: Size, rows: slice) -> np.ndarray:
    """Return some rows of `enlarge(scores, size)`: what is too large to be held at once comes in parts."""
    side = scores.shape[1]
    places = np.clip((np.arange(rows.start, rows.stop) + 0.5) * (side / size[0]) - 0.5, 0, side - 1)
    part = _between(np.asarray(scores, "float32"), 1, places.astype(int), places % 1)
    return tf.image.resize(part, (rows.stop - rows.start, size[1])).numpy()


def _between(values, axis, first, share):
    """Return values between those at `first` and the next ones along an axis; the last one goes on."""
    last = values.shape[axis] - 1
    share = np.expand_dims(share.astype("float32"), [each for each in range(values.ndim) if each != axis])
    low = values.take(np.minimum(first, last), axis)
    high = values.take(np.minimum(first + 1, last), axis)
    return low + share * (high - low)


def _check(how):
    if how != "bilinear":
        raise ValueError(f"resize must be 'antialias' or 'bilinear', got {how!r}")
