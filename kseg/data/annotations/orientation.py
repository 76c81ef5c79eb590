"""The orientation of annotations: as a picture is displayed, or as its file stores it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageOps

from kseg.data import headers
from kseg.types import Size

Orientation: TypeAlias = Literal["displayed", "stored"] | None


def frame(path: Path, stated: Size | None, orientation: Orientation, notes: Counter[str]) -> tuple[Size, int]:
    """Return the size `(H, W)` in which to paint, and the EXIF orientation to turn the mask by.

    Args:
        path: of the picture.
        stated: size that the annotations state; it tells the orientation where width and height change.
        orientation: as for `convert`.
        notes: counts the pictures whose size does not tell.

    Raises:
        ValueError: if the picture cannot be read, or is of another size.
    """
    displayed = headers.image_header(path).size
    with headers.opened(path) as image:
        exif = headers.orientation_of(image)
    stored = displayed[::-1] if exif >= 5 else displayed
    choices = {"displayed": displayed, "stored": stored}
    if orientation is not None:
        choices = {orientation: choices[orientation]}
    fitting = [kind for kind, size in choices.items() if stated is None or tuple(stated) == tuple(size)]
    if not fitting:
        (height, width), (other_height, other_width) = displayed, stated or (0, 0)
        raise ValueError(
            f"{path.name} has {width}×{height} pixels as displayed, but its annotations are of "
            f"{other_width}×{other_height} (width×height); find the picture that was annotated"
        )
    if len(fitting) == 2 and exif != 1:
        notes[
            "pictures turned by EXIF whose annotations do not tell in which orientation they are; taken as "
            "displayed (else: orientation='stored')"
        ] += 1
    return choices[fitting[0]], exif if fitting[0] == "stored" else 1


def turned(mask: np.ndarray, exif: int) -> np.ndarray:
    """Return a mask of stored pixels as the picture is displayed."""
    if exif == 1:
        return mask
    image = Image.fromarray(mask)
    image.getexif()[ExifTags.Base.Orientation] = exif
    return np.asarray(ImageOps.exif_transpose(image))
