"""Pictures in notebooks."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from kseg.disk import write_whole
from kseg.types import PathLike
from kseg.visualization.colors import colorize
from kseg.visualization.overlays import as_rgb


class Shown:
    """A picture that a notebook shows.

    Args:
        pixels: uint8 `(H, W, 3)`.
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __repr__(self) -> str:
        return f"<picture of {self.pixels.shape[1]}×{self.pixels.shape[0]} pixels>"

    def _repr_png_(self) -> bytes:
        return png_of(self.pixels)

    def save(self, path: PathLike) -> None:
        """Write it as a PNG, whole or not at all."""
        from pathlib import Path

        write_whole(Path(path), self._repr_png_(), "the picture")


def show(image: np.ndarray) -> Shown:
    """Return what a notebook shows of a picture, or of a mask in colours.

    Args:
        image: `(H, W, C)` of values 0–255; or a mask `(H, W)` of integer ids, which gets its colours.

    Returns:
        An object that a notebook shows when it is the last line of a cell; `.save(path)` writes it.

    Raises:
        ValueError: for an array of another shape.

    Example:
        >>> show(np.zeros((4, 6), "uint8"))
        <picture of 6×4 pixels>
    """
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"image must be (H, W, C), or a mask (H, W), got {pixels.shape}")
    is_mask = pixels.ndim == 2 and pixels.dtype.kind in "iu"
    return Shown(colorize(pixels) if is_mask else as_rgb(pixels))


def png_of(pixels: np.ndarray) -> bytes:
    """Return a picture as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def as_html(title: str, lines: Sequence[str], sheet: np.ndarray | None) -> str:
    """Return a title, lines and a picture as HTML; text is text, whatever it holds."""
    text = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
    picture = ""
    if sheet is not None:
        data = base64.b64encode(png_of(sheet)).decode()
        picture = f'<img alt="pictures and masks" style="max-width:100%" src="data:image/png;base64,{data}">'
    return f"<div><b>{html.escape(title)}</b>{text}{picture}</div>"
