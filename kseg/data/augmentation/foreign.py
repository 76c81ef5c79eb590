"""Augmentations of other libraries and of the user's own, as functions `(image, mask, seed)`."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Arrays = tuple[np.ndarray, np.ndarray]
_FAR = 1000  # added to ids, so that what Keras' layers paint beyond the picture, 0, is none of them


def of_kind(augment: Any, void: int | None) -> tuple[Callable[..., Any], bool]:
    """Return `(image, mask, seed) -> (image, mask)` of what `augment=` was given.

    Args:
        augment: an albumentations transform, a Keras preprocessing layer, or a function of `(image, mask)` or
            `(image, mask, seed)`.
        void: the id of what lies beyond the picture.

    Returns:
        the function, and whether it takes arrays rather than the tensors of a graph.

    Raises:
        ValueError: for what is none of these.
    """
    if isinstance(augment, type):
        raise ValueError(f"augment is the class {augment.__name__}; give one of it, {augment.__name__}(...)")
    if any(kind.__module__.partition(".")[0] == "albumentations" for kind in type(augment).__mro__):
        return _Albumentations(augment, void), True
    if isinstance(augment, keras.layers.Layer):
        return _KerasLayer(augment, void), True
    if not callable(augment):
        raise ValueError(
            "augment must be kseg.data.augment(...), an albumentations Compose, a Keras preprocessing layer "
            f"or a function of (image, mask) or (image, mask, seed), got {augment!r}"
        )
    # arrays first: in a graph, Python's own random numbers would be drawn once
    if _takes_seed(augment):
        return augment, True
    return lambda image, mask, seed: augment(image, mask), True


def _takes_seed(function):
    """Tell whether a function takes a seed after picture and mask: any third argument that must be given."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    return len(positional) > 2 and (
        positional[2].name == "seed" or positional[2].default is inspect.Parameter.empty
    )


class _Albumentations:
    """A transform of albumentations; each call has a copy of its own, seeded anew.

    Args:
        transform: `Compose`, or a single transform.
        void: the id that it may fill masks with.
    """

    def __init__(self, transform: Any, void: int | None) -> None:
        if not hasattr(transform, "set_random_seed"):
            raise ValueError(
                "augment is of an albumentations without set_random_seed, which reproducible epochs need; "
                "pip install 'albumentations>=2'"
            )
        self.transform, self.void = transform, 0 if void is None else void
        self.idle: deque = deque()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: np.ndarray) -> Any:
        try:
            transform = self.idle.pop()
        except IndexError:
            transform = copy.deepcopy(self.transform)
        try:
            transform.set_random_seed(int(seed[0]) ^ int(seed[1]) << 1)
            is_float = image.dtype != np.uint8
            # floats of albumentations are 0–1; OpenCV knows no int32
            given = transform(
                image=image / np.float32(255) if is_float else image, mask=_narrow(mask, self.void)
            )
        finally:
            self.idle.append(transform)
        image = np.asarray(given["image"])
        return (image * np.float32(255) if is_float else image), given["mask"]


def _narrow(mask, void):
    """Return ids in the smallest type that OpenCV resamples and that holds them and void."""
    ends = (void, int(mask.min()), int(mask.max())) if mask.size else (void,)
    low, high = min(ends), max(ends)
    if low >= 0 and high <= 255:
        return mask.astype("uint8")
    return mask.astype("uint16" if low >= 0 else "float32")


class _KerasLayer:
    """A preprocessing layer of Keras, run eagerly by one thread at a time: its random numbers are a state.

    Args:
        layer: it takes a dict of `images` and `segmentation_masks`.
        void: the id of what it paints beyond the picture; it would be 0, a class.
    """

    def __init__(self, layer: keras.layers.Layer, void: int | None) -> None:
        self.layer = layer
        self.void = 0 if void is None else void
        self.lock = Lock()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: np.ndarray) -> Any:
        with self.lock, tf.device("CPU:0"):
            states = [v for v in self.layer.variables if "seed_generator_state" in v.path]
            for number, state in enumerate(states):
                state.assign(np.array([seed[0] + number, seed[1]], "uint32"))
            pair = {"images": tf.constant(image), "segmentation_masks": tf.constant(mask[..., None] + _FAR)}
            given = self.layer(pair, training=True)
        moved = np.asarray(given["segmentation_masks"])[..., 0] - _FAR
        image = np.asarray(tf.cast(given["images"], tf.float32))
        return image, np.where(moved == -_FAR, self.void, moved)


def as_pair(given: Any, image: np.ndarray, size: Sequence[int] | None = None) -> Arrays:
    """Return what an augmentation gave as a picture of the dtype that it was, and ids `(H, W)` int32.

    Args:
        given: what it gave.
        image: the picture that it took.
        size: `None`, or `(H, W)`, the size that all pictures of a batch have.

    Raises:
        ValueError: for what is no pair of a picture and whole ids of one size.
    """
    check_two(given)
    new, mask = np.asarray(given[0]), np.asarray(given[1])
    mask = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    if new.ndim != 3 or new.shape[-1] != image.shape[-1] or mask.shape != new.shape[:2]:
        raise ValueError(
            f"augment must return a picture (H, W, {image.shape[-1]}) and its mask (H, W), got shapes "
            f"{new.shape} and {mask.shape}"
        )
    if mask.dtype.kind not in "fiub" or new.dtype.kind not in "fiu":
        raise ValueError(f"augment must return numbers and ids, got {new.dtype} and {mask.dtype}")
    if mask.dtype.kind == "f" and not (np.rint(mask) == mask).all():
        raise ValueError(
            "augment must keep integer class ids, got fractions; resample masks by nearest neighbour"
        )
    if size is not None and mask.shape != tuple(size):
        raise ValueError(several_sizes([size, mask.shape]))
    if new.dtype.kind == "f" and not np.isfinite(new).all():
        raise ValueError("augment gives pictures with NaN or infinity; models take 0–255")
    if new.dtype != np.uint8:
        new = np.clip(np.rint(new) if image.dtype == np.uint8 else new, 0, 255)
    return new.astype(image.dtype), mask.astype("int32")


def check_two(given: Any) -> None:
    """Raise `ValueError` unless it is a pair."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(f"augment must return (image, mask), got {type(given).__name__}")


def several_sizes(sizes: Iterable[Sequence[int]]) -> str:
    """Return what is wrong with pictures of several sizes in a batch."""
    shown = ", ".join(f"{width}×{height}" for height, width in list(sizes)[:3])
    return (
        f"augment gives pictures of several sizes ({shown}, width×height), which cannot share a batch; end "
        "it with a crop to one size, or give image_size or batch_size=1"
    )
