"""Annotated objects become a mask of class ids."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from kseg.data import headers
from kseg.data.annotations.objects import AnnotatedObject, AnnotatedPicture, Order, PolygonPoints, Runs
from kseg.data.annotations.sources import needed, rectangle
from kseg.types import Size

VOID = 255
_NEAR = 0.05  # pixels; a share of few decimals comes this close to the whole number that it was


@dataclass(frozen=True)
class Rules:
    """How objects become ids.

    Attributes:
        ids: label → id.
        ground: id of the pixels that no object covers.
        polygon_points, order, crowd, boxes: as for `convert`.
    """

    ids: dict[str, int]
    ground: int
    polygon_points: PolygonPoints
    order: Order
    crowd: Literal["void", "class", "skip"]
    boxes: Literal["skip", "paint"]


def paint(picture: AnnotatedPicture, size: Size, rules: Rules, notes: Counter[str]) -> np.ndarray:
    """Return the mask `(H, W)` uint8 of a picture; what is left out is counted in `notes`.

    Crowds that become void lie beneath all objects. Of objects on one level, larger ones lie beneath smaller
    ones (order "area") or earlier ones beneath later ones ("file").

    Raises:
        ValueError: if an object does not fit the picture.
    """
    layers = []
    for number, item in enumerate(picture.objects):
        void = item.crowd and rules.crowd == "void"
        if item.crowd and rules.crowd == "skip":
            notes["crowds left out"] += 1
            continue
        if item.runs is None and item.patch is None and not item.polygons:
            if item.box is None or rules.boxes == "skip":
                what = "objects with a box and no outline" if item.box else "objects without an outline"
                notes[f"{what}, left out"] += 1
                continue
            outlines = [rectangle(*item.box)]
        else:
            outlines = item.polygons
        covered = _covered(item, outlines, picture.shares, size, rules.polygon_points)
        if covered is None:
            notes["objects that cover no pixel, left out"] += 1
            continue
        rank = -int(covered[1].sum()) if rules.order == "area" else 0
        layers.append((not void, item.level, rank, number, covered, VOID if void else rules.ids[item.label]))
    mask = np.full(size, rules.ground, "uint8")
    for *_, ((rows, columns), pixels), value in sorted(layers, key=lambda layer: layer[:4]):
        mask[rows, columns][pixels] = value
    return mask


Covered = tuple[tuple[slice, slice], np.ndarray]  # a window of the picture, bool pixels in it


def _covered(
    item: AnnotatedObject, outlines: list[np.ndarray], shares: bool, size: Size, rule: PolygonPoints
) -> Covered | None:
    """Return the pixels that an object covers; `None` if there are none."""
    parts = [_polygon(_in_pixels(outline, size) if shares else outline, size, rule) for outline in outlines]
    if item.runs is not None:
        if tuple(item.runs.size) != tuple(size):
            height, width = item.runs.size
            raise ValueError(f"run lengths of {width}×{height} pixels for a picture of {size[1]}×{size[0]}")
        parts.append(_window(run_mask(item.runs), 0, 0, size))
    if item.patch is not None:
        parts.append(_window(item.patch.pixels, item.patch.left, item.patch.top, size))
    found = [part for part in parts if part is not None and part[1].any()]
    if len(found) <= 1:
        return found[0] if found else None
    rows = slice(min(p[0][0].start for p in found), max(p[0][0].stop for p in found))
    columns = slice(min(p[0][1].start for p in found), max(p[0][1].stop for p in found))
    union = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    for (r, c), pixels in found:
        union[
            r.start - rows.start : r.stop - rows.start, c.start - columns.start : c.stop - columns.start
        ] |= pixels
    return (rows, columns), union


def _in_pixels(outline, size):
    outline = outline * [size[1], size[0]]
    whole = np.round(outline)
    return np.where(np.abs(outline - whole) < _NEAR, whole, outline)


def _window(pixels, left, top, size):
    """Return the part of `pixels`, whose first one lies at `(top, left)`, that is in the picture."""
    height, width = pixels.shape
    rows = slice(max(top, 0), min(top + height, size[0]))
    columns = slice(max(left, 0), min(left + width, size[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    inside = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return (rows, columns), inside


def _polygon(outline, size, rule):
    """Return the pixels of a polygon in a window no larger than it needs."""
    if len(outline) < 3:
        return None
    height, width = size
    reach = 2 * max(height, width)
    if np.abs(outline).max() > reach:  # painting takes the time and memory of all that is drawn
        outline = _clipped(outline, -reach, reach)
        if len(outline) < 3:
            return None
    if rule == "pixels":
        outline = np.floor(outline)
    left, top = np.maximum(np.floor(outline.min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(outline.max(0)).astype(int) + 1, [width, height])
    if left >= right or top >= bottom:
        return None
    window = (slice(int(top), int(bottom)), slice(int(left), int(right)))
    draw = _fill_pixels if rule == "pixels" else _fill_grid
    return window, draw(outline - [left, top], (int(bottom - top), int(right - left)))


def _fill_pixels(outline, size):
    """Paint a polygon whose points name pixels; its border belongs to it, as labelme and OpenCV paint."""
    canvas = Image.new("1", (size[1], size[0]))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in outline.tolist()], fill=1, outline=1)
    return np.array(canvas)


def _fill_grid(outline, size):
    """Paint a polygon whose points lie on the grid between pixels, as COCO's own library does."""
    coco = needed("pycocotools.mask")
    encoded = coco.frPyObjects([outline.ravel().tolist()], *size)
    return coco.decode(encoded)[..., 0].astype(bool)


def _clipped(outline, low, high):
    """Return the part of a polygon within a square, cut along one side after the other."""
    for axis, limit, sign in ((0, low, 1), (0, high, -1), (1, low, 1), (1, high, -1)):
        result = []
        for start, end in zip(np.roll(outline, 1, axis=0), outline, strict=True):
            inside_start, inside_end = (sign * (point[axis] - limit) >= 0 for point in (start, end))
            if inside_start != inside_end:
                result.append(start + (end - start) * (limit - start[axis]) / (end[axis] - start[axis]))
            if inside_end:
                result.append(end)
        outline = np.array(result).reshape(-1, 2)
    return outline


def run_mask(runs: Runs) -> np.ndarray:
    """Return bool `(H, W)` of run lengths, which are checked: decoders read beyond the end of wrong ones.

    Raises:
        ValueError: if they do not fill the picture.
    """
    counts = runs.counts
    if isinstance(counts, str | bytes):
        counts = _uncompressed(counts.encode() if isinstance(counts, str) else counts)
    lengths = np.asarray(counts, "int64")
    height, width = runs.size
    within = lengths.ndim == 1 and ((lengths >= 0) & (lengths <= height * width)).all()
    if not within or not 0 < height * width <= headers.MAX_PIXELS or lengths.sum() != height * width:
        raise ValueError(f"run lengths do not fill the {width}×{height} pixels; export them anew")
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def _uncompressed(text):
    """Return the run lengths in COCO's text: five bits a character, and differences after the third."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 40:
            raise ValueError("run lengths hold characters that COCO does not write; export them anew")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last of a number
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number; export them anew")
    return counts
