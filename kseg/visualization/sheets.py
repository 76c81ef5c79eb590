"""Pictures side by side: galleries, and rows of picture, truth and prediction."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from kseg.visualization.legends import beside, font_of, legend
from kseg.visualization.overlays import as_rgb, background_of, overlay

_GAP, _HEAD, _FOOT = 8, 28, 18  # pixels: between pictures, above them for headings, below for a line
_LONGEST = 8192  # pixels of a side of a sheet
_INK, _FAINT = (20, 20, 20), (110, 110, 110)


def gallery(
    rows: list,
    headings: Sequence[str],
    *,
    class_names: Sequence[str] | None = None,
    zoom: int = 1,
    captions: Sequence[str] | None = None,
    columns: int = 1,
    only: Iterable[int] | None = None,
) -> np.ndarray:
    """Put pictures in a grid under headings, for instance image | truth | prediction.

    Args:
        rows: list of rows of pictures `(H, W, C)` or `(H, W)`, values 0–255. Those of other sizes than the
            largest are brought into its cell, their shape kept.
        headings: one str per column.
        class_names: `None` or names for a legend at the right.
        zoom: pixels are repeated this often.
        captions: `None` or one line for below each row.
        columns: of rows: long sheets become several, side by side.
        only: `None` or the ids that the legend shows.

    Returns:
        uint8 `(H', W', 3)`, of at most 8192 pixels a side.

    Raises:
        ValueError: if there are no rows, or one has another number of pictures than there are headings.

    Example:
        >>> gallery([[np.zeros((20, 30, 3), "uint8")] * 2], ["image", "truth"]).shape
        (56, 84, 3)
    """
    pictures = [[as_rgb(picture) for picture in row] for row in rows]
    if not pictures or any(len(row) != len(headings) for row in pictures):
        counts = [len(row) for row in pictures]
        raise ValueError(f"rows must have a picture per heading, {len(headings)}, got {counts}")
    sizes = np.array([picture.shape[:2] for row in pictures for picture in row])
    below = _FOOT if captions is not None else 0
    lines = -(-len(pictures) // columns)
    room = (_LONGEST - _HEAD) // lines - _GAP - below, _LONGEST // (columns * len(headings)) - _GAP
    height, width = (
        int(min(side, most)) for side, most in zip(sizes.max(0) * zoom, np.maximum(room, 1), strict=True)
    )
    block = len(headings) * (width + _GAP) + _GAP
    canvas = Image.new("RGB", (columns * block, _HEAD + lines * (height + below + _GAP)), "white")
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(pictures):
        left, top = number // lines * block + _GAP, _HEAD + number % lines * (height + below + _GAP)
        for column, (picture, heading) in enumerate(zip(row, headings, strict=True)):
            cell = fitted(picture, (height, width))
            start = left + column * (width + _GAP)
            place = (start + (width - cell.shape[1]) // 2, top + (height - cell.shape[0]) // 2)
            canvas.paste(Image.fromarray(cell), place)
            if number % lines == 0:
                _write(draw, heading, (start + width / 2, _HEAD / 2), width, 15, "mm", _INK)
        if captions is not None:
            place = (left, top + height + below / 2 + 1)
            _write(draw, captions[number], place, block - 2 * _GAP, 12, "lm", _FAINT)
    result = np.asarray(canvas)
    if class_names is None:
        return result
    side = legend(class_names, len(result) - _HEAD, only=only)
    side = np.pad(side, [(_HEAD, 0), (0, 0), (0, 0)], constant_values=255)
    return beside(result, side)


def side_by_side(pictures: Sequence[np.ndarray], headings: Sequence[str] | None = None) -> np.ndarray:
    """Put pictures of any sizes into a row, under headings if there are some.

    Args:
        pictures: `(H, W, C)` or `(H, W)`, values 0–255.
        headings: `None` or one str per picture.

    Returns:
        uint8 `(H', W', 3)`.

    Example:
        >>> side_by_side([np.zeros((20, 30, 3)), np.zeros((40, 30))], ["one", "two"]).shape
        (76, 84, 3)
    """
    return gallery([list(pictures)], headings or [""] * len(pictures))


def comparison(
    pairs: list,
    masks: list,
    class_names: Sequence[str],
    zoom: int = 1,
    *,
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Put pictures beside their true and their predicted masks, with a legend.

    Void has thin grey lines; a class that is named "background" leaves the picture as it is.

    Args:
        pairs: list of `(image, mask)`, `(H, W, C)` of values 0–255 and `(H, W)` of class ids, of one size.
        masks: list of predicted masks `(H, W)`.
        class_names: one name per class.
        zoom: pixels are repeated this often.
        captions: `None` or one line for below each row.

    Returns:
        uint8 `(H', W', 3)`.
    """
    rows, background = [], background_of(class_names)
    for (image, truth), predicted in zip(pairs, masks, strict=True):
        shown = as_rgb(image)
        drawn = [
            overlay(shown, mask, alpha=0.75, background=background, hatch_void=True)
            for mask in (truth, predicted)
        ]
        rows.append([shown, *drawn])
    headings = ["image", "truth", "prediction"]
    drawn_ids = [number for number in range(len(class_names)) if number != background]
    return gallery(rows, headings, class_names=class_names, zoom=zoom, captions=captions, only=drawn_ids)


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture as large as fits into `(H, W)`, its shape kept."""
    share = min(size[0] / picture.shape[0], size[1] / picture.shape[1])
    height, width = (max(1, round(side * share)) for side in picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    how = cv2.INTER_AREA if share < 1 else cv2.INTER_NEAREST if share == round(share) else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, height), interpolation=how).reshape(height, width, 3)


def _write(draw, text, place, room, size, anchor, color):
    """Write a line that fits into its room, with an ellipsis where it must be cut."""
    text, font = " ".join(str(text).split()), font_of(size)
    if text and font.getlength(text) > room:
        while text and font.getlength(f"{text}…") > room:
            text = text[:-1]
        text = f"{text}…" if text else ""
    draw.text(place, text, fill=color, font=font, anchor=anchor)
