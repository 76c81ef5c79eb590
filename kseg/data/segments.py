"""A window of one page of a TIFF: only the tiles and strips that it touches are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from kseg.data.file_errors import UnfitError

Window = tuple[slice, slice]  # rows and columns in pixels, each with a start and a stop

_LARGEST = 2**26  # pixels of a tile or strip that are decoded at once
_JPEG = (6, 7, 34892, 33007)  # compressions whose tables stand outside of the tiles


def read(page: Any, window: Window) -> np.ndarray:
    """Return a window `(h, w, C)` of a page as it lies in its file, in its numbers.

    Args:
        page: `tifffile.TiffPage`, its file open.
        window: rows and columns that lie inside the page.

    Raises:
        UnfitError: if the tiles or strips are too large.
    """
    rows, columns = window
    if page.is_memmappable:  # numbers as they are, one row behind the other
        mapped = page.asarray(out="memmap")
        mapped = np.moveaxis(mapped, page.axes.index("S"), -1) if "S" in page.axes else mapped[..., None]
        return np.array(mapped[rows, columns], page.dtype)
    height, width = _segment_size(page)
    planes, _, _, _, samples = page.shaped
    result = np.empty((rows.stop - rows.start, columns.stop - columns.start, planes * samples), page.dtype)
    for segment, (plane, _, top, left, _), shape in _decoded(page, window, (height, width)):
        here = np.s_[plane * samples : (plane + 1) * samples]
        below, right = min(rows.stop, top + shape[1]), min(columns.stop, left + shape[2])
        first, start = max(rows.start, top), max(columns.start, left)
        target = result[
            first - rows.start : below - rows.start, start - columns.start : right - columns.start
        ]
        if segment is None:  # a hole in the file
            target[..., here] = page.nodata
        else:
            target[..., here] = segment[0, first - top : below - top, start - left : right - left]
    return result


def check_pieces(page: Any) -> None:
    """Raise `UnfitError` if the tiles or strips of a page are too large to be read one by one."""
    if not page.is_memmappable:
        _segment_size(page)


def _segment_size(page):
    """Return `(H, W)` of a tile or strip; raise if it is too large."""
    size = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    height, width = min(size[0], page.imagelength), min(size[1], page.imagewidth)
    if height * width > _LARGEST:
        raise UnfitError(
            f"its pixels lie in pieces of {width}×{height}, each read as a whole; save it in tiles, of "
            "512×512 for instance"
        )
    return height, width


def _decoded(page, window, size):
    """Yield `(pixels or None, position, shape)` of each tile or strip that a window touches."""
    height, width = size
    rows, columns = (
        range(part.start // side, -(-part.stop // side)) for part, side in zip(window, size, strict=True)
    )
    across, down = -(-page.imagewidth // width), -(-page.imagelength // height)
    numbers = [
        (plane * down + row) * across + column
        for plane, row, column in product(range(page.shaped[0]), rows, columns)
    ]
    offsets, counts = (
        [each[number] for number in numbers] for each in (page.dataoffsets, page.databytecounts)
    )
    options = {"_fullsize": False}
    if page.compression in _JPEG:
        options |= {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    for data, number in page.parent.filehandle.read_segments(offsets, counts, indices=numbers, flat=True):
        yield page.decode(data, number, **options)


def blocks(size: tuple[int, int], side: int = 2048) -> Iterator[Window]:
    """Yield the windows of at most `side` pixels that a picture of a size `(H, W)` consists of."""
    for top, left in product(range(0, size[0], side), range(0, size[1], side)):
        yield slice(top, min(top + side, size[0])), slice(left, min(left + side, size[1]))


def spread_windows(size: tuple[int, int], count: int = 16, side: int = 256) -> list[Window]:
    """Return windows that lie evenly over a picture of a size `(H, W)`: what is in them stands for it."""
    starts = [np.linspace(0, max(0, length - side), round(count**0.5)).astype(int) for length in size]
    return [
        (slice(top, min(top + side, size[0])), slice(left, min(left + side, size[1])))
        for top in starts[0].tolist()
        for left in starts[1].tolist()
    ]
