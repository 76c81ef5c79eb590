"""Windows over a picture: where they lie, and how what a model says of each becomes one map.

What comes out is blended from left to right and from top to bottom as running means, so that only the rows
that the next windows still touch are kept in memory, and a pixel of which all windows say the same keeps
exactly that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from kseg.checks import check_choice, checked_size
from kseg.types import Size

Blend = Literal["gaussian", "mean"]
Region = tuple[slice, slice]  # rows and columns in pixels, each with a start and a stop
Read = Callable[[Region], np.ndarray]
Given = TypeVar("Given")
Made = TypeVar("Made")

_SIGMA = 1 / 8  # of the side of a window; nnU-Net, Isensee et al. 2021, supplement 4
_LEAST = 1e-3  # weight of a corner beside the middle
_KEPT = 2**27  # bytes of scores that wait for the next row of windows


def checked_overlap(overlap: float) -> float:
    """Return `overlap` as a float.

    Raises:
        ValueError: unless it is a number of 0 or more, below 1.
    """
    try:
        share = float("nan") if isinstance(overlap, str | bool) else float(overlap)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share < 1:
        raise ValueError(
            f"overlap must be the share of a window that the next one covers too, in [0, 1), got {overlap!r}"
        )
    return share


@dataclass(frozen=True)
class Windows:
    """Windows of one size.

    Attributes:
        size: `(H, W)` of a window in pixels.
        overlap: float in [0, 1), the least share of a window that its neighbour covers too.
        blend: `"gaussian"`, the middle of a window counts most, or `"mean"`; `"nearest"` takes the window
            whose middle is nearest, for ids, which have no mean.
    """

    size: Size
    overlap: float = 0.5
    blend: str = "gaussian"

    def __post_init__(self) -> None:
        checked_size("window", self.size)
        checked_overlap(self.overlap)
        check_choice("blend", self.blend, ("gaussian", "mean", "nearest"))

    def starts(self, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Return the first rows and columns of the windows over a picture `(H, W)`, spread evenly."""
        tops, lefts = (self._along(length, side) for length, side in zip(size, self.size, strict=True))
        return tops, lefts

    def _along(self, length, side):
        if side >= length:
            return np.zeros(1, int)
        step = max(1, math.floor(side * (1 - self.overlap) + 1e-9))
        count = math.ceil((length - side) / step) + 1
        return np.round(np.linspace(0, length - side, count)).astype(int)

    def shares(self, starts: np.ndarray, side: int) -> list[np.ndarray]:
        """Return, of each window along an axis, the weight of its pixels in the mean of all windows up to it.

        Args:
            starts: as of `starts`.
            side: of the windows along that axis.
        """
        middle = (np.arange(side) + 0.5) / side - 0.5
        weights = np.ones(side)
        if self.blend != "mean":
            weights = np.maximum(
                np.exp(-0.5 * (middle / _SIGMA) ** 2), _LEAST if self.blend == "gaussian" else 0
            )
        sums = np.zeros(int(starts[-1]) + side)
        shares, best = [], np.full(len(sums), np.inf)
        for start in starts.tolist():
            part = np.s_[start : start + side]
            sums[part] += weights
            share = weights / np.maximum(sums[part], 1e-300)
            if self.blend == "nearest":
                share = (np.abs(middle) < best[part]).astype(float)
                best[part] = np.minimum(best[part], np.abs(middle))
            shares.append(share.astype("float32"))
        return shares


def run_windows(
    run: Callable[[np.ndarray], np.ndarray],
    read: Read,
    size: Size,
    windows: Windows,
    *,
    pixel_bytes: int = 4,
    batch_size: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Iterator[tuple[Region, np.ndarray]]:
    """Yield the map of a picture in parts `(region, (h, w, K))`, each pixel once, made of all windows.

    Args:
        run: function of windows `(B, h, w, C)` that returns their maps `(B, h, w, K)`, which it leaves to us.
        read: function of a region that returns its pixels `(h, w, C)`.
        size: `(H, W)` of the picture. Where it is smaller than a window it is filled up by its mirror image.
        windows: where they lie and how they are blended.
        pixel_bytes: bytes of a pixel of the map, by which what is kept stays bounded.
        batch_size: windows that are run at once.
        progress: `None` or a function `(windows done, all windows)`.
    """
    tops, lefts = windows.starts(size)
    overlapping = max([windows.size[0] - int(step) for step in np.diff(tops)], default=0)
    panels = _panels(lefts, windows.size[1], overlapping * pixel_bytes)
    total, done = len(tops) * sum(stop - start for start, _, stop in panels), 0
    for start, begin, stop in panels:
        strip = _Strip(read, size, slice(int(lefts[start]), int(lefts[stop - 1]) + windows.size[1]))
        blending = _Blending(windows, size, (begin, stop))
        jobs = [
            (row, range(first, min(first + batch_size, stop)))
            for row in range(len(tops))
            for first in range(start, stop, batch_size)
        ]

        def maps_of(job, strip=strip):
            row, numbers = job
            strip.go_to(slice(int(tops[row]), int(tops[row]) + windows.size[0]))
            return run(np.stack([strip.window(int(lefts[number]), windows.size[1]) for number in numbers]))

        made = ahead(maps_of, jobs)
        for (row, numbers), maps in zip(jobs, made, strict=True):
            for number, found in zip(numbers, maps, strict=True):
                done += 1
                if progress:
                    progress(done, total)
                region, part = blending.add(row, number, found)
                if number >= begin:
                    yield region, part


def whole_map(
    run: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, windows: Windows, batch_size: int = 1
) -> np.ndarray:
    """Return the map `(H, W, K)` of a picture `(H, W, C)` by windows."""
    size, result = picture.shape[:2], np.empty(0)
    for region, part in run_windows(run, picture.__getitem__, size, windows, batch_size=batch_size):
        if not result.size:
            result = np.empty((*size, part.shape[-1]), part.dtype)
        result[region] = part
    return result


class _Blending:
    """The running means of a panel: of the window at the left, and of the rows above that still count.

    Args:
        windows: as for `run_windows`.
        size: `(H, W)` of the picture.
        panel: numbers of the columns of windows that it gives, the last one excluded.
    """

    def __init__(self, windows: Windows, size: Size, panel: tuple[int, int]) -> None:
        self.tops, self.lefts = windows.starts(size)
        self.side, self.size = windows.size, size
        self.down = windows.shares(self.tops, self.side[0])
        self.across = windows.shares(self.lefts, self.side[1])
        self.begin = int(self.lefts[panel[0]])
        self.end = _end(self.lefts, panel[1], size[1])
        self.row = -1
        self.above = self.below = np.empty((0, 0, 0))  # rows of the windows above, and for those below
        self.before = np.empty((0, 0, 0))  # the window at the left

    def add(self, row: int, number: int, found: np.ndarray) -> tuple[Region, np.ndarray]:
        """Blend a window into the map; return the region that is now complete, and its values."""
        top, left = int(self.tops[row]), int(self.lefts[number])
        rows = slice(top, _end(self.tops, row + 1, self.size[0]))
        columns = slice(left, _end(self.lefts, number + 1, self.size[1]))
        if row != self.row:
            self.row, self.above, self.before = row, self.below, np.empty((0, 0, 0))
            waiting = top + self.side[0] - rows.stop if row + 1 < len(self.tops) else 0
            self.below = np.empty((waiting, self.end - self.begin, found.shape[-1]), found.dtype)
        if self.before.size:
            shared = self.side[1] - (left - int(self.lefts[number - 1]))
            before = self.before[:, self.side[1] - shared :]
            _mix(found[:, :shared], before, self.across[number][None, :shared, None])
        self.before = found
        done = found[:, : columns.stop - left]
        if left < self.begin:
            return (rows, columns), done
        place = slice(left - self.begin, columns.stop - self.begin)
        count = len(self.above) if row else 0
        if count:
            _mix(done[:count], self.above[:, place], self.down[row][:count, None, None])
        self.below[:, place] = done[rows.stop - top :][: len(self.below)]
        return (rows, columns), done[: rows.stop - top]


def _end(starts, index, length):
    """Return where the windows from `index` on begin, or the end of the picture."""
    return int(starts[index]) if index < len(starts) else length


def _panels(lefts, width, bytes_per_column):
    """Return `(first window to run, first that gives columns, one past the last)` of each panel.

    A panel holds as many columns as its rows that wait may have; windows on its left edge are run once more.
    """
    most = max(4 * width, _KEPT // max(bytes_per_column, 1))
    panels, begin = [], 0
    while begin < len(lefts):
        stop = begin + 1
        while stop < len(lefts) and lefts[stop] + width - lefts[begin] <= most:
            stop += 1
        start = int(np.searchsorted(lefts + width, lefts[begin], "right"))
        panels.append((min(start, begin), begin, stop))
        begin = stop
    return panels


class _Strip:
    """Rows of a picture between two columns: of each row of windows only the new rows are read."""

    def __init__(self, read: Read, size: Size, columns: slice) -> None:
        self.read, self.size, self.columns = read, size, columns
        self.rows, self.pixels = slice(0, 0), np.empty((0, 0, 0))

    def go_to(self, rows: slice) -> None:
        """Hold these rows."""
        if rows == self.rows:
            return
        if self.rows.stop <= rows.start:
            self.pixels = _filled(self.read, self.size, (rows, self.columns))
        else:
            new = _filled(self.read, self.size, (slice(self.rows.stop, rows.stop), self.columns))
            self.pixels = np.concatenate([self.pixels[rows.start - self.rows.start :], new])
        self.rows = rows

    def window(self, left: int, width: int) -> np.ndarray:
        """Return the window `(h, w, C)` that begins at a column."""
        begin = left - self.columns.start
        return self.pixels[:, begin : begin + width]


def _filled(read, size, region):
    """Return the pixels of a region; what lies beyond the picture is its mirror image."""
    inside = tuple(
        slice(part.start, min(part.stop, length)) for part, length in zip(region, size, strict=True)
    )
    pixels = read(inside)
    missing = [(0, whole.stop - part.stop) for whole, part in zip(region, inside, strict=True)]
    return np.pad(pixels, [*missing, (0, 0)], "reflect") if any(m[1] for m in missing) else pixels


def _mix(new, old, share):
    """Put the running mean in the place of what is new: what was there before and a share of the step."""
    if new.dtype.kind == "f":
        new -= old
        new *= share
        new += old
    else:
        np.copyto(new, old, where=share < 0.5)


def ahead(function: Callable[[Given], Made], items: list[Given]) -> Iterator[Made]:
    """Yield what a function returns for each item; while one is used the next is made in another thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for item in items:
            now, coming = coming, pool.submit(function, item)
            if now is not None:
                yield now.result()
        if coming is not None:
            yield coming.result()
