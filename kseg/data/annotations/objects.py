"""Annotations as plain data: what every reader gives and the painter takes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from kseg.types import Size

PolygonPoints: TypeAlias = Literal["grid", "pixels"]
Order: TypeAlias = Literal["area", "file"]


@dataclass(frozen=True)
class Runs:
    """A mask of a whole picture as run lengths, columns first, of pixels outside and inside in turns.

    Attributes:
        counts: list of int, or COCO's compressed text of them.
        size: `(H, W)`.
    """

    counts: Any
    size: Size


@dataclass(frozen=True)
class Patch:
    """A part of a picture.

    Attributes:
        pixels: bool `(h, w)`, which of its pixels belong to the object.
        left, top: of its first pixel.
    """

    pixels: np.ndarray
    left: int
    top: int


@dataclass
class AnnotatedObject:
    """An object; what covers it is all of `polygons`, `runs` and `patch`.

    Attributes:
        label: of its class.
        polygons: float64 `(N, 2)` each, x and y.
        runs: `None` or its run lengths.
        patch: `None` or its pixels.
        box: `None` or `(left, top, right, bottom)`, where the source has no outline but a box.
        crowd: whether it stands for many objects that were not told apart.
        level: objects of a higher one lie on top.
    """

    label: str
    polygons: list[np.ndarray] = field(default_factory=list)
    runs: Runs | None = None
    patch: Patch | None = None
    box: tuple[float, float, float, float] | None = None
    crowd: bool = False
    level: int = 0


@dataclass
class AnnotatedPicture:
    """A picture and the objects in it.

    Attributes:
        name: as the source has it, with `/` between folders.
        split: the name of its split.
        source: what errors call the place of its annotations.
        path: of its file; `None` where that is missing, or where `content` holds it.
        content: `None` or the bytes of the file, of a source that holds its pictures.
        size: `(H, W)` that the source states; it tells in which orientation the points are.
        shares: whether points are shares of width and height, not pixels.
        objects: in the order of the source.
    """

    name: str
    split: str
    source: str
    path: Path | None = None
    content: bytes | None = None
    size: Size | None = None
    shares: bool = False
    objects: list[AnnotatedObject] = field(default_factory=list)


@dataclass
class Annotations:
    """What a reader found.

    Attributes:
        class_names: in the order of the source.
        pictures: all that it knows of.
        polygon_points: where the points of this format's polygons lie.
        order: in which its objects are painted.
        background_names, void_names: labels that are no class of their own.
        notes: what was passed over → how often.
        problems: a line for each thing that is wrong, beginning with the file.
    """

    class_names: list[str]
    pictures: list[AnnotatedPicture]
    polygon_points: PolygonPoints
    order: Order
    background_names: frozenset[str] = frozenset()
    void_names: frozenset[str] = frozenset()
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
