"""Borders between classes counted in NumPy: what `kseg.metrics.BoundaryIoU` and `BoundaryF1` count."""

from __future__ import annotations

import cv2
import numpy as np

BAND = 0.02  # of the diagonal: the default tolerance of `kseg.metrics.BoundaryIoU`
REACH = 0.0075  # of the diagonal: that of `kseg.metrics.BoundaryF1`


def band_counts(
    true: np.ndarray, predicted: np.ndarray, counted: np.ndarray, num_classes: int, tolerance: float = BAND
) -> np.ndarray:
    """Return the pixels of the bands along the borders, as `kseg.metrics.BoundaryIoU` counts them.

    Args:
        true: ids `(H, W)`, classes where `counted`.
        predicted: ids `(H, W)`, from `num_classes` on where it is no class.
        counted: bool `(H, W)`, where the truth is a class.
        num_classes: how many classes there are.
        tolerance: width of the band as a share of the diagonal, at least 1 pixel.

    Returns:
        int64 `(3, num_classes)`: pixels of both bands, of the true one, of the predicted one.
    """
    pixels = pixels_of(true.shape, tolerance)
    true_band = _near_border(true, counted, pixels, num_classes, edge=True)
    band = _near_border(predicted, counted, pixels, num_classes, edge=True) & (predicted < num_classes)
    both = true_band & band & (true == predicted)
    kinds = (true[both], true[true_band], predicted[band])
    return np.stack([np.bincount(ids, minlength=num_classes) for ids in kinds])


def border_counts(
    true: np.ndarray, predicted: np.ndarray, counted: np.ndarray, num_classes: int, tolerance: float = REACH
) -> np.ndarray:
    """Return the border pixels of each class, as `kseg.metrics.BoundaryF1` counts them.

    Args:
        true, predicted, counted, num_classes: as for `band_counts`.
        tolerance: how far a border may lie off, as a share of the diagonal, at least 1 pixel.

    Returns:
        int64 `(4, num_classes)`: predicted ones, of them near a true one; true ones, near a predicted one.
    """
    pixels = pixels_of(true.shape, tolerance)
    borders = []  # of the prediction, of the truth: the class, or `num_classes` where there is no border
    for ids in (predicted, true):
        near = _near_border(ids, counted, 1, num_classes, edge=False) & (ids < num_classes)
        borders.append(np.where(near, ids, num_classes))
    found, wanted = (np.bincount(each.ravel(), minlength=num_classes + 1)[:-1] for each in borders)
    counts = np.stack([found, np.zeros_like(found), wanted, np.zeros_like(found)])
    for index in np.flatnonzero((found > 0) & (wanted > 0)):
        guess, truth = (each == index for each in borders)
        counts[[1, 3], index] = _near_each_other(guess, truth, pixels)
    return counts


def label_counts(true: np.ndarray, predicted: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return `band_counts` and `border_counts` of several labels per pixel, each with borders of its own.

    Args:
        true, predicted, counted: bool `(H, W, C)`.
    """
    bands, borders = [], []
    for label in range(true.shape[-1]):
        on, guess = (each[..., label].astype("int32") for each in (true, predicted))
        bands.append(band_counts(on, guess, counted[..., label], 2)[:, 1])
        borders.append(border_counts(on, guess, counted[..., label], 2)[:, 1])
    return np.stack(bands, 1), np.stack(borders, 1)


def pixels_of(size: tuple[int, ...], tolerance: float) -> int:
    """Return a share of the diagonal of a picture `(H, W)` in whole pixels, at least 1."""
    height, width = np.float32(size[0]), np.float32(size[1])
    return max(int(np.round(np.float32(tolerance) * np.sqrt(height**2 + width**2))), 1)


def _type(num_classes):
    """Return the smallest type of OpenCV that holds the ids, and two more."""
    return "uint8" if num_classes < 2**8 - 2 else "uint16" if num_classes < 2**16 - 2 else "float32"


def _square(pixels):
    return np.ones((2 * pixels + 1, 2 * pixels + 1), "uint8")


def _near_border(ids, counted, pixels, num_classes, edge):
    """Return where a counted pixel has another counted id, or the edge, within `pixels`, bool `(H, W)`.

    Where the highest id around a pixel is the lowest one too, there is no other.
    """
    kind = _type(num_classes)
    raised = ids.astype(kind) + np.array(1, kind)
    beyond = np.array(num_classes + 2, kind)
    # OpenCV leaves out what lies beyond the picture
    highest = cv2.dilate(np.where(counted, raised, np.array(0, kind)), _square(pixels))
    lowest = cv2.erode(np.where(counted, raised, beyond), _square(pixels))
    near = highest != lowest
    if edge:
        near[:pixels] = near[-pixels:] = True
        near[:, :pixels] = near[:, -pixels:] = True
    return near & counted


def _near_each_other(one, other, pixels):
    """Return how many pixels of each of two bool `(H, W)` lie within `pixels` of the other."""
    left, top, width, height = cv2.boundingRect((one | other).view("uint8"))
    part = slice(top, top + height), slice(left, left + width)  # nothing lies beyond it
    one, other = (np.ascontiguousarray(each[part]).view("uint8") for each in (one, other))
    square = _square(pixels)
    return [int(np.count_nonzero(a & cv2.dilate(b, square))) for a, b in ((one, other), (other, one))]
