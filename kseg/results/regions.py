"""Masks made cleaner: small regions and holes taken over by what is around them, unsure pixels made void."""

from __future__ import annotations

import numpy as np

_ROUNDS = 16  # of holes in holes


def cleaned(
    ids: np.ndarray,
    confidence: np.ndarray | None = None,
    *,
    min_region: int = 0,
    fill_holes: int = 0,
    min_confidence: float = 0.0,
    void: int = 255,
) -> np.ndarray:
    """Return class ids `(H, W)` of which all that is asked for was done, in this order.

    Args:
        ids: `(H, W)` unsigned integers.
        confidence: `None` or `(H, W)` probabilities.
        min_region: regions of fewer pixels become the class of the nearest pixel of a larger one.
        fill_holes: regions of up to so many pixels that lie inside of one other class become that class.
        min_confidence: pixels below become `void`.
        void: the id that stands for no class; its regions stay.

    Example:
        >>> ids = np.zeros((5, 5), "uint8")
        >>> ids[2, 2] = 1
        >>> int(cleaned(ids, fill_holes=1).max())
        0
    """
    if min_region > 1:
        ids = without_small_regions(ids, min_region, void)
    if fill_holes:
        ids = with_filled_holes(ids, fill_holes, void)
    if min_confidence and confidence is not None:
        ids = np.where(confidence < min_confidence, ids.dtype.type(void), ids)
    return ids


def regions_of(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the region of each pixel, int32 `(H, W)`, and the pixels of each region.

    Pixels are neighbours along their sides.
    """
    import cv2

    labels, counts, first = np.zeros(ids.shape, "int32"), [], 0
    for each in np.unique(ids):
        where = (ids == each).astype("uint8")
        count, found, stats, _ = cv2.connectedComponentsWithStats(where, connectivity=4, ltype=cv2.CV_32S)
        inside = found > 0
        labels[inside] = found[inside] + (first - 1)
        counts += stats[1:, cv2.CC_STAT_AREA].tolist()
        first += count - 1
    return labels, np.array(counts, int)


def without_small_regions(ids: np.ndarray, pixels: int, void: int = 255) -> np.ndarray:
    """Return ids in which regions of fewer than so many pixels have the class of the nearest larger one."""
    from scipy.ndimage import distance_transform_edt

    labels, counts = regions_of(ids)
    small = (counts[labels] < pixels) & (ids != void)
    kept = ~small & (ids != void)
    if not small.any() or not kept.any():
        return ids
    rows, columns = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    return np.where(small, ids[rows, columns], ids)


def with_filled_holes(ids: np.ndarray, pixels: int, void: int = 255) -> np.ndarray:
    """Return ids in which what is inside of one class, of up to so many pixels, has that class."""
    for _ in range(_ROUNDS):
        labels, counts = regions_of(ids)
        sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
        both = [np.stack([a[a != b], b[a != b]], 1) for a, b in sides]
        pairs = np.unique(np.concatenate([*both, *(pair[:, ::-1] for pair in both)]), axis=0)
        neighbours = np.bincount(pairs[:, 0], minlength=len(counts)) if len(pairs) else np.zeros(len(counts))
        touching = np.zeros(len(counts), bool)
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            touching[edge] = True
        class_of = np.zeros(len(counts), ids.dtype)
        class_of[labels.ravel()] = ids.ravel()
        holes = (neighbours == 1) & ~touching & (counts <= pixels) & (class_of != void)
        around = np.zeros(len(counts), int)
        if len(pairs):
            around[pairs[:, 0]] = pairs[:, 1]
        holes &= class_of[around] != void
        if not holes.any():
            break
        ids = np.where(holes[labels], class_of[around][labels], ids)
    return ids
