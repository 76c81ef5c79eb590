"""Mask files: what they say of themselves, and the class ids in them."""

from pathlib import Path

import numpy as np
from PIL import ImageOps

from kseg.data import tiff
from kseg.data.headers import SUFFIXES, Header, bits_of, first_line, opened, orientation_of, refuse, size_of
from kseg.data.reading import check_pixels, damaged
from kseg.disk import check_regular, stamp
from kseg.types import PathLike

MASK_SUFFIXES = (*SUFFIXES, ".npy")
_IDS = 2**16  # masks have up to 16 bits


def mask_header(path: PathLike) -> Header:
    """Return the header of a mask.

    Raises:
        ValueError: as `image_header`, and for a JPEG (lossy: it invents ids) or a colour picture.
    """
    if Path(path).suffix.lower() == ".npy":
        return Header(_array(path).shape[:2], False, stamp(path))
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
        plain = image.format == "PNG" and image.mode == "L" and bits_of(image, path) == 8
        return Header(size_of(image), plain and orientation_of(image) == 1, stamp(path))


def read_mask(path: PathLike) -> np.ndarray:
    """Return the class ids `(H, W)` int32 of a mask file: grey of 1 to 16 bits, palette indices, or `.npy`.

    It is turned as its EXIF orientation says, as the picture is.

    Raises:
        ValueError: if the file cannot be read or holds no ids; it names it.
    """
    if Path(path).suffix.lower() == ".npy":
        return _ids_within(path, np.asarray(_array(path)))
    mask_header(path)
    with opened(path) as image:
        check_pixels(path)
        try:
            image.load()
            turned = image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)
            pixels = np.asarray(turned)
        except Exception as error:
            raise damaged(path, "mask", error) from error
        if image.format in ("PNG", "TIFF") and image.mode == "L":
            pixels = pixels // (255 // (2 ** min(bits_of(image, path), 8) - 1))  # Pillow scales 2 and 4 bits
    return _ids_within(path, pixels)


def _ids_within(path, pixels):
    """Return ids as int32; raise where one is negative or above 16 bits."""
    if pixels.dtype.itemsize > 2 and not 0 <= pixels.min() <= pixels.max() < _IDS:
        raise ValueError(
            f"{path}: ids {pixels.min()} to {pixels.max()} are not within 0..{_IDS - 1}; save a 16-bit PNG"
        )
    return pixels.astype("int32")


def _array(path):
    """Return the ids `(H, W)` of a file of NumPy, read when they are asked for; code in it is refused."""
    check_regular(Path(path))
    try:
        ids = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path}: cannot be read as a NumPy array ({first_line(error)})") from error
    if not isinstance(ids, np.ndarray):
        raise ValueError(f"{path}: holds several arrays; save the ids alone, by numpy.save")
    ids = ids[..., 0] if ids.ndim == 3 and ids.shape[-1] == 1 else ids
    if ids.ndim != 2 or 0 in ids.shape or ids.dtype.kind not in "uib" or (ids.dtype == np.int8):
        raise ValueError(f"{path}: a mask holds integer ids (H, W), this is {ids.dtype} {ids.shape}")
    return ids
