"""How the pictures of a data set are read: their channels and their range, settled over all of its files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np

from kseg.data.headers import Header
from kseg.data.reading import ReadingOptions, sample_numbers
from kseg.disk import stamp
from kseg.types import PathLike
from kseg.value_range import ValueRange, checked_value_range

PERCENTILES = (0.5, 99.5)
_VALUES = 2**22  # of a band that are looked at


def reading_options(
    channels: int | None,
    value_range: Any,
    page: int | None,
    paths: Sequence[PathLike],
    headers: Sequence[Header],
    training: Sequence[PathLike],
) -> ReadingOptions:
    """Return what is asked for, and of the files where they are asked.

    Args:
        channels, value_range, page: as for `kseg.data.from_directory`.
        paths, headers: of all pictures of a split.
        training: those of the split that the range is measured on.

    Raises:
        ValueError: if the files do not agree, or the range does not fit them; it names a file.
    """
    wanted = checked_value_range(value_range)
    for path, header in zip(paths, headers, strict=True):
        _check_channels(path, header.channels, channels)
    if channels is None:
        channels = _agreed(paths, headers, "channels", "give channels=, or make them alike")
    if wanted == "dtype":
        wanted = _range_of_dtype(paths, headers)
    elif wanted == "percentiles":
        wanted = measured(tuple(map(str, training)), tuple(map(stamp, training)), channels, page)
    if isinstance(wanted, ValueRange) and wanted.channels not in (None, channels):
        raise ValueError(
            f"value_range names {wanted.channels} channels, and the pictures have {channels}; give one "
            "number for black and white, or one for each channel"
        )
    return ReadingOptions(channels, wanted if isinstance(wanted, ValueRange) else None, page)


def _check_channels(path, there, wanted):
    """Refuse a number of channels that a file cannot give: colours give grey, and alpha beside them."""
    if wanted not in (None, there, there + 1) and not (there == 3 and wanted == 1):
        raise ValueError(
            f"{path}: has {there} channels, and channels={wanted} are asked for; keep the bands that are "
            "meant, or say channels= as the files have them"
        )


def check_options(channels: int | None, value_range: Any, page: int | None) -> None:
    """Raise `ValueError` for arguments that no file can fit."""
    check_number("channels", channels, 1)
    check_number("page", page, 0)
    checked_value_range(value_range)


def check_number(argument: str, value: Any, least: int) -> None:
    """Raise `ValueError` unless it is an int of at least `least`, or `None`."""
    is_int = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if value is not None and not (is_int and value >= least):
        raise ValueError(f"{argument} must be an int of {least} or more, or None, got {value!r}")


def _agreed(paths, headers, attribute, mend):
    """Return what all headers say; of two that differ both files are named."""
    first = getattr(headers[0], attribute)
    for path, header in zip(paths, headers, strict=True):
        other = getattr(header, attribute)
        if other != first:
            raise ValueError(f"{path}: has {attribute} {other}, and {paths[0]} has {first}; {mend}")
    return first


def _range_of_dtype(paths, headers):
    """Return the least and the largest number of the type that all files have."""
    mend = "give value_range=(low, high), which is the same for all files"
    dtype, bits = (_agreed(paths, headers, each, mend) for each in ("dtype", "bits"))
    if np.dtype(dtype).kind == "f":
        raise ValueError(
            f"{paths[0]}: holds {dtype}, which has no black and white of its own; give value_range= as "
            "(low, high) or 'percentiles'"
        )
    if np.dtype(dtype).kind == "i":
        return ValueRange(float(-(2 ** (bits - 1))), float(2 ** (bits - 1) - 1))
    return ValueRange(0.0, float(2**bits - 1))


@lru_cache(maxsize=16)
def measured(
    paths: tuple[str, ...], _stamps: tuple, channels: int | None = 3, page: int | None = None
) -> ValueRange:
    """Return the percentiles `PERCENTILES` of each band over pictures; of the same files they stay known.

    Args:
        paths: of the pictures, which are read once.
        channels, page: as for `read_image`.
    """
    count = max(_VALUES // len(paths), 1024)

    with ThreadPoolExecutor() as pool:
        seen = np.concatenate(list(pool.map(lambda path: sample_numbers(path, channels, page, count), paths)))
    low, high = (tuple(map(float, each)) for each in np.percentile(seen, PERCENTILES, axis=0))
    if any(a >= b for a, b in zip(low, high, strict=True)):
        raise ValueError(
            f"{paths[0]}: half a percent above black and below white lies at {low} and {high} over "
            f"{len(paths)} files, which leaves no contrast; give value_range=(low, high)"
        )
    return ValueRange(low, high)
