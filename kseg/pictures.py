"""The door of pictures: which arrays hold the values 0–255 that every model of kseg takes.

A picture that is on another scale gives another mask, and nothing in the network would notice.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

PIXEL_RANGE = (0.0, 255.0)
_DARK = 2.0  # floats up to this are taken for another scale, which interpolation may exceed a little


def check_pictures(pictures: np.ndarray, argument: str = "image") -> None:
    """Raise unless an array can be pictures of values 0–255.

    Args:
        pictures: `(H, W, C)` or a batch of them, each of which is judged.
        argument: how the error names it.

    Raises:
        ValueError: for what is no number, not finite, outside of 0–255, or of floats that are all tiny.
    """
    for picture in pictures if np.ndim(pictures) == 4 else [pictures]:
        fault = fault_of(picture)
        if fault:
            raise ValueError(f"{argument} must hold pixel values 0–255, got {fault}")


def fault_of(pictures: np.ndarray) -> str | None:
    """Return what is wrong with the values of a picture, with its mend, or `None`."""
    pixels = np.asarray(pictures)
    if pixels.dtype == np.uint8 or pixels.size == 0:
        return None
    if pixels.dtype.kind not in "iuf":
        return f"dtype {pixels.dtype}; give uint8 or float32"
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        return "NaN or infinite values"
    seen = f"{low:g} to {high:g} in {pixels.dtype}"
    if low < 0 or high > PIXEL_RANGE[1]:
        is_signed_unit = pixels.dtype.kind == "f" and low >= -1 and high <= 1
        hint = "(image + 1) * 127.5" if is_signed_unit else "scale them, or np.clip(image, 0, 255)"
        return f"{seen}; {hint}"
    if pixels.dtype.kind == "f" and 0 < high <= _DARK:
        return f"{seen}; multiply by 255, or keep the uint8 of the file"
    return None


def checked_range(input_range: Any) -> tuple[float, float] | None:
    """Return `input_range` as two floats, or `None`.

    Raises:
        ValueError: unless it is `None` or two finite numbers, the lower first.
    """
    if input_range is None:
        return None
    try:
        low, high = (float("nan") if isinstance(each, str) else float(each) for each in input_range)
    except (TypeError, ValueError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(
            "input_range must be (low, high), what the model takes for black and white, for instance (0, 1), "
            f"got {input_range!r}"
        )
    return low, high


def in_pixel_range(
    pictures: np.ndarray, input_range: Sequence[float] | None = None, argument: str = "image"
) -> np.ndarray:
    """Return pictures as values 0–255: uint8 as it is, which need not be judged again, else float32.

    Args:
        pictures: values 0–255, or floats in `input_range`.
        input_range: `(low, high)`, what the model takes for 0 and 255; `None` is 0–255.
        argument: how an error names the pictures.

    Raises:
        ValueError: for pictures that are neither, or floats that can be both.
    """
    pixels = np.asarray(pictures)
    low, high = PIXEL_RANGE if input_range is None else input_range
    if (low, high) == PIXEL_RANGE:
        check_pictures(pixels, argument)
        return pixels if pixels.dtype == np.uint8 else pixels.astype("float32", copy=False)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.ndim == 4:  # each is judged by itself
        return np.stack([in_pixel_range(each, input_range, argument) for each in pixels])
    fault = fault_of(pixels)
    slack = 1e-3 * (high - low)
    on_scale = pixels.dtype.kind == "f" and low - slack <= pixels.min() and pixels.max() <= high + slack
    as_given = pixels.astype("float32", copy=False)
    if fault is not None and not on_scale:
        raise ValueError(
            f"{argument} must hold pixel values 0–255, or floats of the stated input_range={(low, high)}, "
            f"got {fault}"
        )
    if not on_scale:
        return as_given
    from_scale = np.clip((as_given - low) * (PIXEL_RANGE[1] / (high - low)), *PIXEL_RANGE).astype("float32")
    if fault is None and not np.allclose(from_scale, as_given, atol=0.5):
        raise ValueError(
            f"{argument}: floats from {pixels.min():g} to {pixels.max():g} can be pixel values 0–255 or on "
            f"the stated input_range={(low, high)}; give pixel values as uint8"
        )
    return from_scale


def scaled(pixels: np.ndarray, input_range: Sequence[float] | None) -> np.ndarray:
    """Return values 0–255 as float32 on the scale of the model."""
    pixels = np.asarray(pixels, "float32")
    low, high = PIXEL_RANGE if input_range is None else input_range
    if (low, high) == PIXEL_RANGE:
        return pixels
    return pixels * np.float32((high - low) / PIXEL_RANGE[1]) + np.float32(low)


def probes(size: tuple[int, int] | None, channels: int) -> Iterator[np.ndarray]:
    """Yield pictures `(1, H, W, channels)` of values 0–255 to try a model on: noise, ramps, black, white.

    Args:
        size: `(H, W)` in pixels, `None` for a model that takes any.
        channels: of the picture.
    """
    height, width = size or (64, 64)
    shape = (1, height, width, channels)
    yield np.random.default_rng(0).integers(0, 256, shape).astype("float32")
    yield np.broadcast_to(np.linspace(0, 255, width, dtype="float32")[:, None], shape)
    yield np.broadcast_to(np.linspace(255, 0, height, dtype="float32")[:, None, None], shape)
    yield from (np.full(shape, value, "float32") for value in PIXEL_RANGE)
