"""The pictures that a file is calibrated and verified with."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kseg.data.batches import batches
from kseg.data.directory import resize_pair
from kseg.inference import Runner
from kseg.types import Size

MAX_PICTURES = 32


def collect(
    data: Any, name: str = "validation_data", limit: int = MAX_PICTURES
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return up to `limit` `(picture, mask or None)` of the batches in `data`; `name` is that argument's.

    Raises:
        TypeError: if `data` is nothing that `kseg.data.batches.batches` takes.
        ValueError: if there is none, or a picture is not `(H, W, C)` of finite numbers.
    """
    if data is None:
        return []
    pairs: list[tuple[np.ndarray, np.ndarray | None]] = []
    for images, masks in batches(data, name):
        for index, image in enumerate(images):
            if not np.all(np.isfinite(image)):
                raise ValueError(f"{name}: a picture must hold finite numbers, got NaN or infinity")
            pairs.append((image, None if masks is None else masks[index]))
            if len(pairs) == limit:
                return pairs
    if not pairs:
        raise ValueError(
            f"{name}: the data to calibrate and verify with are empty; give at least one batch of pictures"
        )
    return pairs


def generated_pictures(runner: Runner, count: int = 4) -> list[np.ndarray]:
    """Return smooth random pictures for a `Runner`: a stand-in where the caller has none."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        size = runner.input_size or (64 + 11 * number, 96 - 7 * number)
        coarse = rng.uniform(0, 255, (1, 8, 8, runner.channels)).astype("float32")
        smooth = tf.image.resize(coarse, size, method="bicubic").numpy()[0]
        pictures.append(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).round().astype("uint8"))
    return pictures


def fit(
    picture: np.ndarray, mask: np.ndarray | None, size: Size | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a picture, and its mask or `None`, at the size of the file."""
    if size is None or picture.shape[:2] == size:
        return picture, mask
    dummy = np.zeros(picture.shape[:2], "int32") if mask is None else mask.reshape(picture.shape[:2])
    image, resized = resize_pair(picture, dummy, size)
    return image.numpy(), None if mask is None else resized.numpy()
