"""The range of values of pictures that are deeper than 8 bits, and how it becomes 0–255."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MEASURED = ("dtype", "percentiles")  # what is asked of the files


@dataclass(frozen=True)
class ValueRange:
    """What files hold for black and for white.

    Attributes:
        low: number that becomes 0, one for all channels or a tuple of one per channel.
        high: number that becomes 255, likewise.
    """

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]

    def __str__(self) -> str:
        return f"({self.low}, {self.high})"

    @property
    def channels(self) -> int | None:
        """Number of channels that it is for, `None` for any."""
        return len(self.low) if isinstance(self.low, tuple) else None

    def to_pixels(self, pictures: np.ndarray) -> np.ndarray:
        """Return `(..., C)` of the files' numbers as float32 of 0–255; what lies outside is cut."""
        low, high = np.asarray(self.low, "float64"), np.asarray(self.high, "float64")
        scale = 255 / (high - low)
        pixels = np.asarray(pictures, "float64" if pictures.dtype.itemsize > 2 else "float32")
        return np.clip((pixels - low) * scale, 0, 255).astype("float32")

    def as_tuple(self) -> tuple:
        """Return `(low, high)`."""
        return self.low, self.high

    def as_json(self) -> str:
        """Return it as the text that exported files hold."""
        return json.dumps(self.as_config())

    def as_config(self) -> list:
        """Return `[low, high]` as JSON can hold it."""
        return [list(end) if isinstance(end, tuple) else end for end in (self.low, self.high)]


def checked_value_range(value_range: Any) -> ValueRange | str | None:
    """Return `value_range` as `ValueRange`, the name of a measurement, or `None`.

    Raises:
        ValueError: unless it is `None`, one of `MEASURED`, a `ValueRange`, or two numbers, or two sequences
            of as many numbers, the lower first.
    """
    if value_range is None or isinstance(value_range, ValueRange):
        return value_range
    if isinstance(value_range, str) and value_range in MEASURED:
        return value_range
    try:
        low, high = (_end(each) for each in value_range)
        fits = bool(np.isfinite([low, high]).all() and np.less(low, high).all() and np.size(low))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            "value_range must be (low, high), what the files hold for black and white, each a number or one "
            f"per channel, or 'dtype' or 'percentiles', got {value_range!r}"
        )
    return ValueRange(low, high)


def checked_stated(value_range: Any) -> ValueRange:
    """Return `value_range` as `ValueRange`.

    Raises:
        ValueError: if it is none, also for the name of a measurement, which needs files.
    """
    stated = checked_value_range(value_range)
    if not isinstance(stated, ValueRange):
        raise ValueError(
            "value_range must be (low, high), what the files hold for black and white, each a number or one "
            f"per channel, got {value_range!r}"
        )
    return stated


def from_json(text: str | None) -> ValueRange | None:
    """Return the range that an exported file holds, `None` where it holds none."""
    try:
        return checked_stated(json.loads(text)) if text else None
    except (TypeError, ValueError, RecursionError):
        return None


def _end(value):
    if isinstance(value, str):
        raise ValueError(value)
    if isinstance(value, Sequence | np.ndarray) and np.ndim(value) == 1:
        return tuple(float(each) for each in value)
    return float(value)
