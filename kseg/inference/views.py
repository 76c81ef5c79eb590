"""Test-time augmentation: the views of a picture that a model sees, and the way back of what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from kseg.checks import unknown_name
from kseg.inference.resizing import shrink

TestTimeAugmentation = Literal["flip"] | Mapping[str, Any] | None

_FLIPS = {
    **{False: ((),), None: ((),), True: ((), (2,)), "horizontal": ((), (2,)), "vertical": ((), (1,))},
    "both": ((), (2,), (1,), (1, 2)),
}
_KEYS = ("flip", "scales", "rotate")
_ADVICE = (
    "tta must be None, 'flip' or a dict of 'flip' (True, 'horizontal', 'vertical' or 'both'), 'scales' (for "
    "instance (0.75, 1, 1.25)) and 'rotate' (True, or some of 90, 180 and 270)"
)


@dataclass(frozen=True)
class View:
    """One way to look at a picture: brought to a scale, turned, then mirrored.

    Attributes:
        scale: float, times the sides of the picture.
        quarters: int, turns by 90 degrees, counterclockwise.
        flipped: axes of `(B, H, W, C)` that run backwards.
    """

    scale: float = 1.0
    quarters: int = 0
    flipped: tuple[int, ...] = ()

    def of(self, images: np.ndarray) -> np.ndarray:
        """Return pictures `(B, H, W, C)` as the view shows them; only what is scaled becomes float32."""
        if self.scale != 1:
            sides = [max(1, round(side * self.scale)) for side in images.shape[1:3]]
            images = np.clip(shrink(images, (sides[0], sides[1])), 0, 255)
        return np.ascontiguousarray(np.flip(np.rot90(images, self.quarters, (1, 2)), self.flipped))

    def back(self, maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return maps `(B, h, w, K)` of the view as those of pictures of a size `(H, W)`."""
        maps = np.rot90(np.flip(maps, self.flipped), -self.quarters, (1, 2))
        return maps if maps.shape[1:3] == size else tf.image.resize(maps, size, antialias=True).numpy()


AS_IT_IS = (View(),)


def views_of(tta: TestTimeAugmentation) -> tuple[View, ...]:
    """Return the views that `tta` asks for, each combination once.

    Raises:
        TypeError: if it is neither `None`, a str nor a dict.
        ValueError: for a key or a value that it does not have.
    """
    if tta is None:
        return AS_IT_IS
    if tta == "flip":
        tta = {"flip": True}
    if isinstance(tta, str):
        raise ValueError(f"{_ADVICE}, got {tta!r}")
    if not isinstance(tta, Mapping):
        raise TypeError(f"{_ADVICE}, got {tta!r}")
    for key in tta:
        if key not in _KEYS:
            raise unknown_name("key in tta", key, _KEYS)
    flip, scales, rotate = tta.get("flip"), tta.get("scales"), tta.get("rotate")
    if not isinstance(flip, bool | str | None) or flip not in _FLIPS:
        raise ValueError(f"{_ADVICE}, got {tta!r}")
    views = [
        View(scale, quarters, flipped)
        for scale, quarters, flipped in product(_scales(scales, tta), _quarters(rotate, tta), _FLIPS[flip])
    ]
    distinct: dict[tuple, View] = {}
    probe = np.arange(6).reshape(1, 2, 3, 1)
    for view in views:  # two flips are half a turn
        turned = View(1.0, view.quarters, view.flipped).of(probe)
        distinct.setdefault((view.scale, turned.shape, turned.tobytes()), view)
    return tuple(distinct.values())


def _scales(scales, tta):
    if scales is None:
        return (1.0,)
    is_list = isinstance(scales, Sequence | np.ndarray) and not isinstance(scales, str)
    numbers = list(scales) if is_list else []
    fits = [isinstance(each, int | float | np.number) and not isinstance(each, bool) for each in numbers]
    if not numbers or not all(fits) or not all(0.1 <= each <= 10 for each in numbers):
        raise ValueError(f"{_ADVICE}; scales lie between 0.1 and 10, got {tta!r}")
    return tuple(dict.fromkeys(float(each) for each in numbers))


def _quarters(rotate, tta):
    if rotate is None or isinstance(rotate, bool):
        return (0, 1, 2, 3) if rotate else (0,)
    is_list = isinstance(rotate, Sequence | np.ndarray) and not isinstance(rotate, str)
    turns = list(rotate) if is_list else [rotate]
    if not all(
        isinstance(each, int | float | np.integer) and int(each) % 90 == 0 == each % 1 for each in turns
    ):
        raise ValueError(f"{_ADVICE}, got {tta!r}")
    return tuple(dict.fromkeys([0, *(int(each // 90) % 4 for each in turns)]))
