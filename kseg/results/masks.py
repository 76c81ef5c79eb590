"""Masks as files that keep every id and show something: palette PNG, 16-bit PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from kseg import visualization
from kseg.disk import whole_file

_VOID = (255, 255, 255)  # of a palette: an id that stands for no class is white


def mask_palette() -> np.ndarray:
    """Return the colours of the ids 0 to 255, uint8 `(256, 3)`."""
    colors = visualization.palette(256)
    colors[255] = _VOID
    return colors


def save_mask(ids: np.ndarray, path: Path) -> None:
    """Write class ids whole or not at all.

    Args:
        ids: `(H, W)` of unsigned integers; `(H, W, labels)` of 0 and 1 goes into a `.npy`.
        path: of a PNG with a palette, up to 256 ids; else of 16 bits.

    Raises:
        OSError: if it cannot be written.
        ValueError: for ids above 65535.
    """
    with whole_file(path, "the mask", needed=ids.nbytes if path.suffix == ".npy" else None) as partial:
        if path.suffix == ".npy":
            with partial.open("wb") as file:
                np.save(file, ids)
        else:
            picture_of_ids(ids).save(partial, format="PNG")


def picture_of_ids(ids: np.ndarray) -> Image.Image:
    """Return a Pillow image whose pixels are the ids.

    Raises:
        ValueError: for ids above 65535.
    """
    if ids.dtype == np.uint8:
        image = Image.fromarray(ids)
        image.putpalette(mask_palette().ravel().tolist())
        return image
    if ids.max(initial=0) > np.iinfo("uint16").max:
        raise ValueError(f"a mask of ids up to {ids.max()} does not fit into 16 bits; save it as .npy")
    return Image.fromarray(ids.astype("uint16"))
