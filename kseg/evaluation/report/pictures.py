"""Pictures of a report as addresses that hold them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_QUALITY = 82  # of JPEG


def jpeg(pixels: np.ndarray) -> str:
    """Return uint8 `(H, W, 3)` or `(H, W)` as the address of a JPEG."""
    return _address(Image.fromarray(pixels), "jpeg", quality=_QUALITY, optimize=True)


def ids_png(ids: np.ndarray, wrong: np.ndarray) -> str:
    """Return ids and where they are wrong as the address of a PNG, which the page reads.

    Args:
        ids: `(H, W)`, -1 where there is no class.
        wrong: bool `(H, W)`.

    Returns:
        Address of RGB: the id and one in red (its low byte) and green, 255 in blue where wrong.
    """
    raised = (ids + 1).astype("uint16")
    pixels = np.stack([raised & 255, raised >> 8, 255 * wrong], -1).astype("uint8")
    return _address(Image.fromarray(pixels), "png", optimize=True)


def _address(image, kind, **options):
    file = io.BytesIO()
    image.save(file, format=kind.upper(), **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
