"""The pictures that a file is calibrated and verified with."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from kseg.data.batches import batches
from kseg.data.resizing import resize_pair
from kseg.inference import Runner
from kseg.pictures import checked_range, in_pixel_range
from kseg.types import InputRange, Size

MAX_PICTURES = 32


def collect(
    data: Any,
    name: str = "validation_data",
    limit: int = MAX_PICTURES,
    input_range: InputRange = None,
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return up to `limit` `(picture, mask or None)` of the batches in `data`; `name` is that argument's.

    Pictures hold values 0–255, or floats in `input_range`, which become such values.

    Raises:
        TypeError: if `data` is nothing that `kseg.data.batches.batches` takes.
        ValueError: if there is none, or a picture is not `(H, W, C)` of values 0–255.
    """
    if data is None:
        return []
    input_range = checked_range(input_range)
    pairs: list[tuple[np.ndarray, np.ndarray | None]] = []
    for images, masks in batches(data, name):
        for index, image in enumerate(images):
            image = in_pixel_range(image, input_range, f"{name}: a picture")
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
    if mask is None:
        image, _ = resize_pair(picture, np.zeros(picture.shape[:2], "int32"), size)
        return image.numpy(), None
    labels = mask.reshape((*picture.shape[:2], -1))  # one channel of ids, or several of labels
    pairs = [resize_pair(picture, labels[..., channel], size) for channel in range(labels.shape[-1])]
    return pairs[0][0].numpy(), np.stack([each.numpy() for _, each in pairs], -1).reshape(
        (*size, *mask.shape[2:])
    )
