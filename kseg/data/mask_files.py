"""Mask files: what they say of themselves, and the class ids in them."""

from pathlib import Path

import numpy as np

from kseg.data import tiff
from kseg.data.headers import Header, bits_of, opened, refuse
from kseg.data.reading import check_pixels, damaged
from kseg.disk import stamp
from kseg.types import PathLike

_IDS = 2**16  # masks have up to 16 bits


def mask_header(path: PathLike) -> Header:
    """Return the header of a mask.

    Raises:
        ValueError: as `image_header`, and for a JPEG (lossy: it invents ids) or a colour picture.
    """
    with opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise ValueError(f"{path}: a JPEG mask has wrong ids along every border; save masks as PNG")
        if image.mode not in ("L", "P", "1", "I", "I;16", "I;16B"):
            raise ValueError(
                f"{path}: a mask has one channel of class ids, this is {image.mode}; convert colours to ids"
            )
        if image.format == "TIFF":
            tags = tiff.tiff_tags(Path(path)) or {}
            refuse(path, tiff.ids_problem(tags) or tiff.band_problem(tags))
        size = image.size[::-1]
        plain = image.format == "PNG" and image.mode == "L" and bits_of(image, path) == 8
        return Header(size, plain, stamp(path))


def read_mask(path: PathLike) -> np.ndarray:
    """Return the class ids `(H, W)` int32 of a mask file: grey of 1 to 16 bits, or palette indices.

    Raises:
        ValueError: if the file cannot be read or holds no ids; it names it.
    """
    mask_header(path)
    with opened(path) as image:
        check_pixels(path)
        try:
            pixels = np.asarray(image)
        except Exception as error:
            raise damaged(path, "mask", error) from error
        if image.format in ("PNG", "TIFF") and image.mode == "L":
            pixels = pixels // (255 // (2 ** min(bits_of(image, path), 8) - 1))  # Pillow scales 2 and 4 bits
    if image.mode == "I" and not 0 <= pixels.min() <= pixels.max() < _IDS:
        raise ValueError(
            f"{path}: ids {pixels.min()} to {pixels.max()} are not within 0..{_IDS - 1}; save a 16-bit PNG"
        )
    return pixels.astype("int32")
