"""One picture and its mask: refused where they are not 0–255, no ids, or do not fit each other."""

from typing import Any

import numpy as np
import tensorflow as tf

# cameras', scanners' and satellites' numbers
_DEEP = ("uint16", "uint32", "uint64", "int16")


def check_arrays(image: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture `(h, w, C)`, uint8 or float32, and its mask `(h, w)`.

    Args:
        image: uint8, or float or int of 0–255.
        mask: integer ids, `(h, w)` or `(h, w, 1)`.

    Raises:
        ValueError: for what is none of these, or of two sizes.
    """
    image, mask = np.asarray(image), np.asarray(mask)
    mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    _check_axes(image.ndim, mask.ndim, image.shape, mask.shape)
    is_float = _check_types(image.dtype.name, mask.dtype.name)
    _check_sizes(image.shape[:2], mask.shape)
    if image.dtype != np.uint8:
        _check_range(image)
        image = image.astype("float32" if is_float else "uint8", copy=False)
    return image, mask


def check_specs(image: Any, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return a picture and its mask as tensors of a graph; refuse what shows before it runs.

    Raises:
        ValueError: as `check_arrays`, as far as types and shapes are known.
    """
    image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
    if mask.shape.rank == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    _check_axes(image.shape.rank, mask.shape.rank, image.shape, mask.shape)
    if image.shape.rank is None:
        raise _unknown_channels(image)
    if mask.shape.rank is None:
        raise ValueError(
            "mask must have two axes, got unknown ones; call tf.ensure_shape(mask, (None, None))"
        )
    _check_types(image.dtype.name, mask.dtype.name)
    if image.shape[:2].is_fully_defined() and mask.shape.is_fully_defined():
        _check_sizes(image.shape[:2], mask.shape)
    return image, mask


def check_channels(image: tf.Tensor) -> None:
    """Raise where a graph does not know how many channels a picture has."""
    if image.shape[-1] is None:
        raise _unknown_channels(image)


def _unknown_channels(image):
    return ValueError(
        f"image must have a known number of channels, got shape {image.shape}; give channels=3 to what "
        "decodes it, or call tf.ensure_shape(image, (None, None, 3))"
    )


def _check_axes(image_rank, mask_rank, image_shape, mask_shape):
    if image_rank not in (3, None) or mask_rank not in (2, None):
        raise ValueError(
            "expected one picture (h, w, C) and its mask (h, w), without a batch, got shapes "
            f"{image_shape} and {mask_shape}"
        )


def _check_types(image_dtype, mask_dtype):
    """Refuse what holds neither 0–255 nor ids; tell whether the picture is of floats."""
    if "float" in mask_dtype or "complex" in mask_dtype:
        raise ValueError(
            f"mask must hold integer class ids, got {mask_dtype}; resize masks by nearest neighbour and "
            "cast those that are whole"
        )
    if image_dtype in _DEEP or not ("float" in image_dtype or "int" in image_dtype):
        raise ValueError(
            f"image must hold 0–255, uint8 or float, got {image_dtype}; bring it to 0–255 before"
        )
    return "float" in image_dtype


def _check_sizes(size, mask_size):
    if tuple(size) != tuple(mask_size):
        raise ValueError(
            "the mask must have the height and width of its picture, got mask and picture of "
            f"{tuple(mask_size)} and {tuple(size)}"
        )


def _check_range(image):
    """Refuse NaN, 0–1, −1..1, more than 255 and negative values."""
    if image.size == 0:
        return
    low, high, is_whole = float(image.min()), float(image.max()), image.dtype.kind in "iu"
    if not np.isfinite([low, high]).all():
        raise ValueError("image must hold 0–255, got NaN or infinity; remove them before")
    if low < 0 or high > 255 or (not is_whole and 0 < high <= 1):
        raise ValueError(
            f"image must hold 0–255, got values from {low:g} to {high:g} "
            "(multiply 0–1 by 255; bring every other range to 0–255 before)"
        )
