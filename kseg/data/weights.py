"""Class weights from how often each class is seen."""

import numpy as np
import tensorflow as tf

from kseg.checks import check_choice
from kseg.masks import void_ids
from kseg.types import IgnoreClass


def class_weights(
    dataset: tf.data.Dataset,
    method: str = "sqrt_median_frequency",
    num_classes: int | None = None,
    ignore_class: IgnoreClass = 255,
) -> list[float]:
    """Count the pixels of each class over a data set and return weights for the losses.

    The frequency of a class is its share of the pixels of the pictures that show it.

    Reference: Eigen & Fergus 2015, section 6 (median frequency balancing); its square root is milder and
    trains more steadily.

    Args:
        dataset: batches or single pairs `(image, mask)`; not augmented, so that it counts what is there.
            Masks are integer ids `(H, W)` or `(H, W, 1)`, or one-hot `(H, W, C)`, all zeros where void.
        method: `"median_frequency"` or `"sqrt_median_frequency"`.
        num_classes: `None` reads the dataset's attribute of that name, or the channels of one-hot masks.
        ignore_class: void, `None`, one id or several.

    Returns:
        One per class; 0.0 for a class that never appears.

    Raises:
        TypeError: for ids that are no integers.
        ValueError: for an unknown method, a number of classes that is not known or too small, masks of
            another shape, or if there is no pixel of any class.

    Example:
        >>> from kseg.data import shapes
        >>> len(class_weights(shapes(4, (64, 64))))
        6
    """
    check_choice("method", method, ("median_frequency", "sqrt_median_frequency"))
    num_classes = num_classes or getattr(dataset, "num_classes", None)
    rows = []
    for image, mask, *_ in dataset.as_numpy_iterator():
        masks = mask if image.ndim == 4 else mask[None]  # (B, H, W), (B, H, W, 1) or (B, H, W, C)
        if num_classes is None and masks.ndim == 4 and masks.shape[-1] > 1:
            num_classes = masks.shape[-1]
        if num_classes is None:
            raise ValueError("num_classes is not known: the dataset has no such attribute; give it")
        rows += [_counts(one, num_classes, void_ids(ignore_class)) for one in masks]
    counts = np.array(rows or [[0]])  # (pictures, classes)
    if not counts.any():
        raise ValueError("the dataset has no pixel of any class: every mask is void or it is empty")
    pixels = counts.sum(0)
    present = pixels > 0
    seen_in = (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)
    frequency = pixels[present] / seen_in[present]
    weights = np.zeros(len(pixels))
    weights[present] = np.median(frequency) / frequency
    return (np.sqrt(weights) if method.startswith("sqrt") else weights).tolist()


def _counts(mask, num_classes, void):
    """Return the pixels of each class of one mask, int64 `(num_classes,)`."""
    if mask.ndim == 3 and mask.shape[-1] > 1:
        return _counts_of_one_hot(mask, num_classes)
    if mask.ndim != 2 and mask.shape[2:] != (1,):
        raise ValueError(f"masks are ids (H, W) or (H, W, 1), or one-hot (H, W, C), got shape {mask.shape}")
    if mask.dtype.kind not in "iub":
        raise TypeError(f"masks hold integer class ids, got {mask.dtype}; cast them to int32")
    ids = mask[~np.isin(mask, void)].astype("int64")
    if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
        wrong = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(
            f"the masks hold class id {wrong}, num_classes is {num_classes}; give more, or add it to "
            "ignore_class="
        )
    return np.bincount(ids, minlength=num_classes)


def _counts_of_one_hot(mask, num_classes):
    if mask.shape[-1] != num_classes:
        raise ValueError(f"one-hot masks of {mask.shape[-1]} classes, num_classes is {num_classes}")
    is_class = mask.astype(bool)
    if (is_class != mask).any():
        raise ValueError("one-hot masks hold 0 and 1 alone; give integer ids, or 1 for the class of a pixel")
    if (is_class.sum(-1) > 1).any():
        raise ValueError("a pixel has several labels; class weights are for masks of one class a pixel")
    return is_class.sum((0, 1))
