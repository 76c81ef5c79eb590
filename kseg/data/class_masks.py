"""Masks of one file per class, put together."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from os import fspath
from typing import TypeAlias

import numpy as np

from kseg.data.headers import Header
from kseg.types import PathLike

# A mask on disk: a file, or one file per class from class 1 on, `None` where a class is not in the picture.
MaskPath: TypeAlias = PathLike | tuple[PathLike | None, ...]


def name_of(path: MaskPath) -> str:
    """Return what messages call a mask: its file, of several the first."""
    files = _present(path) if isinstance(path, tuple) else [path]
    return fspath(files[0]) + (f" (and {len(files) - 1} more of its classes)" if len(files) > 1 else "")


def class_masks_header(paths: tuple[PathLike | None, ...], read: Callable[[PathLike], Header]) -> Header:
    """Return the header of a mask of one file per class; raise where their sizes differ.

    Args:
        paths: of the classes from 1 on.
        read: reads the header of one file.
    """
    sizes = {path: read(path).size for path in _present(paths)}
    _check_sizes(sizes)
    return Header(next(iter(sizes.values())), False)


def read_class_masks(
    paths: tuple[PathLike | None, ...], read: Callable[[PathLike], np.ndarray]
) -> np.ndarray:
    """Return ids `(H, W)` int32: file `n` marks class `n + 1`, and what none marks is class 0.

    Where files overlap, the later one lies above.

    Args:
        paths: of the classes from 1 on.
        read: reads the numbers of one file.

    Raises:
        ValueError: if sizes differ, or a file holds more than one number beside 0.
    """
    masks = {path: read(path) for path in _present(paths)}
    _check_sizes({path: mask.shape for path, mask in masks.items()})
    ids = np.zeros(next(iter(masks.values())).shape, "int32")
    for number, path in enumerate(paths, 1):
        if path is not None:
            marks = np.unique(masks[path][masks[path] != 0])
            if len(marks) > 1:
                raise ValueError(
                    f"{path}: the mask of one class holds 0 and one other number, this {len(marks)} others, "
                    f"{marks[:5].tolist()}; resize masks with nearest neighbour only"
                )
            ids[masks[path] != 0] = number
    return ids


def shared_pixels(
    paths: tuple[PathLike | None, ...], read: Callable[[PathLike], np.ndarray]
) -> dict[tuple[int, int], int]:
    """Return `(class, the same or a later one)` → how many pixels the files of both mark.

    Args:
        paths: of the classes from 1 on.
        read: reads the numbers of one file.
    """
    marks = {number: read(path) != 0 for number, path in enumerate(paths, 1) if path is not None}
    pairs = combinations_with_replacement(marks, 2)
    return {(low, high): int((marks[low] & marks[high]).sum()) for low, high in pairs}


def _present(paths: Sequence[PathLike | None]) -> list[PathLike]:
    found = [path for path in paths if path is not None]
    if not found:
        raise ValueError("a mask of one file per class needs one file at least, got none")
    if len(set(found)) < len(found):
        raise ValueError(f"{found[0]}: the files of the classes are {found}; each stands for one class")
    return found


def _check_sizes(sizes):
    (first, size), *others = sizes.items()
    for path, other in others:
        if other != size:
            raise ValueError(
                f"{path}: {other[1]}×{other[0]} pixels, but {first} has {size[1]}×{size[0]} (width×height); "
                "make them the same"
            )
