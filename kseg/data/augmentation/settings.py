"""What an augmentation is asked for: its arguments, checked, and the named strengths."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from kseg.checks import check_choice, checked_size

Flip = bool | Literal["horizontal", "vertical", "both"]
_NOTHING = {"rotation": 0, "shear": 0, "perspective": 0, "hue": 0, "gamma": 0, "blur": 0, "cutout": 0}
STRENGTHS: dict[str, dict[str, Any]] = {
    "light": {**_NOTHING, "scale": (0.8, 1.25), "flip": True, "color": 0.1},
    "default": {**_NOTHING, "scale": (0.5, 2.0), "flip": True, "color": 0.2},
    "strong": {
        "scale": (0.5, 2.0),
        "flip": True,
        "rotation": 15,
        "shear": 5,
        "perspective": 0.1,
        "color": 0.3,
        "hue": 10,
        "gamma": 0.3,
        "blur": 1,
        "cutout": 0.25,
    },
}
_FLIPS = {False: (), True: ("horizontal",), "horizontal": ("horizontal",), "vertical": ("vertical",)}
_FLIPS["both"] = ("horizontal", "vertical")
# Argument → the end of its range, in words and as a test of what is finite and not negative.
_RANGES = {
    "rotation": ("an angle in degrees in [0, 180]", lambda value: value <= 180),
    "shear": ("an angle in degrees in [0, 60]", lambda value: value <= 60),
    "perspective": ("a number in [0, 1)", lambda value: value < 1),
    "color": ("a number in [0, 1)", lambda value: value < 1),
    "hue": ("an angle in degrees in [0, 180]", lambda value: value <= 180),
    "gamma": ("a number of 0 or more", lambda value: True),
    "blur": ("a number of pixels of 0 or more", lambda value: True),
    "cutout": ("a number in [0, 1)", lambda value: value < 1),
}


@dataclass(frozen=True)
class Settings:
    """What an augmentation draws from; `kseg.data.augment` says what each is."""

    crop_size: tuple[int, int]
    scale: tuple[float, float]
    flip: tuple[str, ...]
    rotation: float
    shear: float
    perspective: float
    color: float
    hue: float
    gamma: float
    blur: float
    cutout: float
    class_weights: np.ndarray | None
    fill: tuple[float, ...]
    ignore_class: int


def settings_of(
    crop_size: Sequence[int],
    strength: str,
    chosen: Mapping[str, Any],
    class_weights: Sequence[float] | None,
    fill: float | Sequence[float],
    ignore_class: int,
) -> Settings:
    """Return the settings of a strength, with what was chosen beside it.

    Raises:
        ValueError: for an argument out of range.
    """
    crop_size = checked_size("crop_size", crop_size)
    check_choice("strength", strength, tuple(STRENGTHS))
    asked = {**STRENGTHS[strength], **chosen}
    if isinstance(ignore_class, bool) or not isinstance(ignore_class, Integral):
        raise ValueError(f"ignore_class must be an int, the id of void, got {ignore_class!r}")
    return Settings(
        crop_size=crop_size,
        scale=_checked_scale(asked["scale"]),
        flip=_checked_flip(asked["flip"]),
        class_weights=_checked_weights(class_weights),
        fill=_checked_fill(fill),
        ignore_class=int(ignore_class),
        **{name: _checked_number(name, asked[name]) for name in _RANGES},
    )


def _checked_number(name, value):
    words, is_in_range = _RANGES[name]
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf or not is_in_range(value):
        raise ValueError(f"{name} must be {words}, got {value!r}")
    return float(value)


def _checked_scale(scale):
    if not isinstance(scale, tuple | list) or len(scale) != 2 or not 0 < scale[0] <= scale[1] < math.inf:
        raise ValueError(f"scale must be (smallest, largest) with 0 < smallest <= largest, got {scale!r}")
    return float(scale[0]), float(scale[1])


def _checked_flip(flip):
    if not isinstance(flip, bool | str) or flip not in _FLIPS:
        raise ValueError(f'flip must be True, False, "horizontal", "vertical" or "both", got {flip!r}')
    return _FLIPS[flip]


def _checked_weights(class_weights):
    if class_weights is None:
        return None
    weights = np.asarray(class_weights, "float64")
    if weights.ndim != 1 or not len(weights) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"class_weights must be one number of 0 or more for each class, got {class_weights!r}"
        )
    return weights


def _checked_fill(fill):
    values = tuple(fill) if isinstance(fill, tuple | list) else (fill,)
    if not values or not all(isinstance(value, Real) and 0 <= float(value) <= 255 for value in values):
        raise ValueError(f"fill must be a number in [0, 255], or one for each channel, got {fill!r}")
    return tuple(float(value) for value in values)
