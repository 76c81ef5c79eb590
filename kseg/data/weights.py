"""Class weights from how often each class is seen."""

import numpy as np
import tensorflow as tf

from kseg.checks import check_choice


def class_weights(
    dataset: tf.data.Dataset,
    method: str = "sqrt_median_frequency",
    num_classes: int | None = None,
    ignore_class: int = 255,
) -> list[float]:
    """Count the pixels of each class over a data set and return weights for the losses.

    The frequency of a class is its share of the pixels of the pictures that show it.

    Reference: Eigen & Fergus 2015, section 6 (median frequency balancing); its square root is milder and
    trains more steadily.

    Args:
        dataset: batches or single pairs `(image, mask)`; not augmented, so that it counts what is there.
        method: `"median_frequency"` or `"sqrt_median_frequency"`.
        num_classes: `None` reads the dataset's attribute of that name.
        ignore_class: void.

    Returns:
        One per class; 0.0 for a class that never appears.

    Raises:
        ValueError: for an unknown method, a number of classes that is not known or too small, or if there is
            no pixel of any class.
    """
    check_choice("method", method, ("median_frequency", "sqrt_median_frequency"))
    num_classes = num_classes or getattr(dataset, "num_classes", None)
    if num_classes is None:
        raise ValueError("num_classes is not known: the dataset has no such attribute; give it")
    pixels, seen_in = np.zeros(num_classes), np.zeros(num_classes)
    for _, masks in dataset.as_numpy_iterator():
        masks = masks[..., 0] if masks.ndim == 4 else masks  # (B, H, W, 1)
        for mask in masks if masks.ndim == 3 else [masks]:
            counts = np.bincount(mask[mask != ignore_class].ravel(), minlength=num_classes)
            if len(counts) > num_classes:
                raise ValueError(
                    f"the masks hold class id {len(counts) - 1}, num_classes is {num_classes}; give more"
                )
            pixels += counts
            seen_in += counts.sum() * (counts > 0)
    frequency = pixels / np.maximum(seen_in, 1)
    present = pixels > 0
    if not present.any():
        raise ValueError("the dataset has no pixel of any class: every mask is void or it is empty")
    weights = np.zeros(num_classes)
    weights[present] = np.median(frequency[present]) / frequency[present]
    return (np.sqrt(weights) if method.startswith("sqrt") else weights).tolist()
