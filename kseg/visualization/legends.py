"""Names beside colours, and text in pictures."""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kseg.quiet import quiet_matplotlib
from kseg.visualization.colors import palette

_ROW = (13, 22)  # pixels of a line, least and most
_COLUMNS = 4
_WIDEST = 200  # pixels of a name


def legend(
    class_names: Sequence[str],
    height: int,
    *,
    only: Iterable[int] | None = None,
    colors: np.ndarray | None = None,
) -> np.ndarray:
    """Draw names beside their colours: every class, in several columns where one does not suffice.

    Args:
        class_names: one name per class; a long one is cut, with an ellipsis.
        height: pixels; the text grows and shrinks with it.
        only: `None` or the ids to show.
        colors: uint8 `(num_classes, 3)`; `None` takes `palette`.

    Returns:
        uint8 `(height, width, 3)`, as wide as its names; higher where four columns do not hold all.
    """
    colors = palette(max(len(class_names), 1)) if colors is None else np.asarray(colors)
    ids = list(range(len(class_names))) if only is None else list(only)
    row = int(np.clip(height // max(len(ids), 1), *_ROW))
    lines = max(1, height // row)
    if len(ids) > _COLUMNS * lines:
        lines = -(-len(ids) // _COLUMNS)
    font = font_of(row * 0.62)
    names = [_shortened(str(class_names[index]), font) for index in ids]
    columns = [range(first, min(first + lines, len(ids))) for first in range(0, len(ids), lines)]
    widths = [int(row * 1.6 + max(font.getlength(names[each]) for each in column)) + 6 for column in columns]
    canvas = Image.new("RGB", (sum(widths) + 2, max(height, lines * row if ids else 0)), "white")
    draw, left = ImageDraw.Draw(canvas), 0
    for column, width in zip(columns, widths, strict=True):
        for line, each in enumerate(column):
            top = line * row
            color = tuple(int(c) for c in colors[ids[each]])
            draw.rectangle((left + 3, top + 2, left + row, top + row - 3), fill=color)
            place = (left + row * 1.35, top + row / 2)
            draw.text(place, names[each], fill="black", font=font, anchor="lm")
        left += width
    return np.asarray(canvas)


@functools.lru_cache(maxsize=32)
def font_of(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font of a size in pixels: DejaVu, which has most letters of the font files at hand."""
    size = max(7, round(size))
    with quiet_matplotlib():
        import matplotlib

        path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    try:
        return ImageFont.truetype(str(path), size)
    except OSError:
        return ImageFont.load_default(size=size)


def beside(picture: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Put two pictures side by side on white, the tops in one line."""
    height = max(len(picture), len(side))
    filled = [
        np.pad(each, [(0, height - len(each)), (0, 0), (0, 0)], constant_values=255)
        for each in (picture, side)
    ]
    return np.concatenate(filled, axis=1)


def _shortened(name, font):
    """Return a name on one line that is not too wide."""
    name = " ".join(name.split()) or " "
    if font.getlength(name) <= _WIDEST:
        return name
    while len(name) > 1 and font.getlength(f"{name}…") > _WIDEST:
        name = name[:-1]
    return f"{name.rstrip()}…"
