"""A few pictures of a dataset, to look at."""

import numpy as np
import tensorflow as tf

from kseg.data.resizing import resize_pair


def sample_evenly(dataset: tf.data.Dataset, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return `count` pairs `(image, mask)` spread over a dataset of batches, all at the size of the first."""
    epochs = getattr(dataset, "epochs", None)
    total = sum(1 for _ in _pairs(dataset)) if epochs is None else epochs.count
    indices = set(np.linspace(0, total - 1, min(count, total)).astype(int).tolist())
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for index, (image, mask) in enumerate(_pairs(dataset)):
        if index not in indices:
            continue
        if found and mask.shape != found[0][1].shape:
            image, mask = (part.numpy() for part in resize_pair(image, mask, found[0][1].shape))
        found.append((image, mask))
    return found


def _pairs(dataset):
    for images, masks in dataset.as_numpy_iterator():
        yield from zip(images, masks, strict=True)
