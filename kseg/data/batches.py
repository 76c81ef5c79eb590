"""Batches of pictures and masks, out of whatever people hold them in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

_FORMS = (
    "expected arrays (B, H, W, C), pairs (pictures, masks), triples (pictures, masks, weights), a data set "
    "or a list of such batches, or a function that gives an iterator of them"
)


def batches(data: Any, name: str = "data") -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield batches of `data` one by one, so that a generator need not end.

    Args:
        data: an array of pictures `(B, H, W, C)` or one `(H, W, C)`; Keras' tuple of arrays `(x,)`, `(x, y)`
            or `(x, y, sample_weight)`; a `tf.data.Dataset`, a `keras.utils.PyDataset`, a list, a generator or
            another iterable of such arrays, tuples, or lists `[x]` as TensorFlow calibrates with; a function
            without arguments that returns one of these. Weights are left out: a file and a score have none.
        name: of the argument, for the errors.

    Returns:
        Iterator of `(pictures (B, H, W, C), masks or None)`. Masks are `(B, H, W)`, those of `(B, H, W, 1)`
        too; with more channels they stay as they are.

    Raises:
        TypeError: if it is none of these.
        ValueError: if a shape does not fit.

    Example:
        >>> pictures, masks = np.zeros((4, 8, 8, 3)), np.zeros((4, 8, 8), int)
        >>> [(x.shape, y.shape) for x, y in batches((pictures, masks))]
        [((4, 8, 8, 3), (4, 8, 8))]
    """
    for item in _items(data, name):
        yield _batch(item, name)


def _items(data, name):
    """Return the batches of a source, each as it is there."""
    if callable(data) and not isinstance(data, Iterable):
        try:
            data = data()
        except TypeError as error:
            raise TypeError(f"{name}: the function must take no arguments ({error}); {_FORMS}") from error
    if isinstance(data, keras.utils.PyDataset):
        return (data[index] for index in range(data.num_batches))
    if _is_array(data) or (isinstance(data, tuple) and data and (_is_array(data[0]) or data[0] is None)):
        return [data]
    if isinstance(data, str | bytes | Mapping) or not isinstance(data, Iterable):
        raise TypeError(f"{name}: {_FORMS}; got {type(data).__name__}")
    return data


def _batch(item, name):
    """Return `(pictures, masks or None)` of one batch."""
    parts = (item,) if _is_array(item) else item
    if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= 3 or not _is_array(parts[0]):
        what = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        raise TypeError(f"{name}: {_FORMS}; got a batch that is a {what}")
    pictures = np.asarray(parts[0])
    single = pictures.ndim == 3
    pictures = pictures[None] if single else pictures
    if pictures.ndim != 4 or not np.issubdtype(pictures.dtype, np.number):
        raise ValueError(
            f"{name}: a batch of pictures must be numbers (B, H, W, C), got {pictures.dtype} {pictures.shape}"
        )
    if len(parts) == 1 or parts[1] is None:
        return pictures, None
    masks = np.asarray(parts[1])
    masks = masks[None] if single and masks.shape[:2] == pictures.shape[1:3] else masks
    if masks.shape[:3] != pictures.shape[:3] or masks.ndim > 4:
        raise ValueError(
            f"{name}: masks must be (B, H, W) of their pictures' size, got {masks.shape} for pictures "
            f"{pictures.shape}"
        )
    return pictures, masks[..., 0] if masks.ndim == 4 and masks.shape[-1] == 1 else masks


def _is_array(value):
    return hasattr(value, "__array__") and hasattr(value, "shape")
