"""Masks that are no pictures: `.npy` files, and the TIFFs that `tifffile` reads."""

from pathlib import Path
from typing import Any

import numpy as np

from kseg.data import bands, headers, tiff
from kseg.data.file_errors import UnfitError
from kseg.data.headers import Header
from kseg.disk import stamp

_MAGIC = b"\x93NUMPY"
_IDS = 2**16  # masks have up to 16 bits


def is_array_file(path: Path) -> bool:
    """Tell whether a file begins as `.npy` files do, or is named so."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC or path.suffix.lower() == ".npy"


def array_header(path: Path, windows: bool = False) -> Header:
    """Return the header of a mask in a `.npy` file; of any size where `windows` of it are read.

    Raises:
        ValueError: if it is damaged or its shape or dtype is none of a mask.
    """
    return Header(array_mask(path, windows).shape[:2], False, stamp(path))


def array_mask(path: Path, windows: bool = False) -> np.ndarray:
    """Return the integers `(H, W)`, or colours `(H, W, 3)` uint8, of a `.npy` file, not yet in memory.

    Where `windows` of it are read, it has any size.

    Raises:
        ValueError: if it is damaged or its shape or dtype is none of a mask.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # of any type: what a damaged header leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: is no sound .npy file ({reason}); restore or remove it") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: holds several arrays; save the ids alone, by numpy.save")
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if not array.size or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)):
        raise ValueError(
            f"{path}: a mask has shape (H, W) or (H, W, 1), this has {array.shape}; save one mask"
        )
    if array.dtype.kind not in "iub" or (array.ndim == 3 and array.dtype != "uint8"):
        raise ValueError(f"{path}: a mask holds integer class ids, this {array.dtype}; save it as uint8")
    if array.shape[0] * array.shape[1] > headers.MAX_PIXELS and not windows:
        raise headers.too_large(path)
    return array


def tiff_array(path: Path, page: int | None = None) -> np.ndarray:
    """Return the picture `(H, W)` of a TIFF of integers that Pillow cannot read, turned as its EXIF says.

    Args:
        path: the file.
        page: of several pictures the one to read, from 0.

    Raises:
        ValueError: if `tifffile` is not installed, the file is damaged, holds several bands, or several
            pictures of which none is named.
    """
    try:
        import tifffile
    except ImportError:
        raise ValueError(
            f"{path}: a TIFF of 64-bit integers; install tifffile, or save the mask as PNG"
        ) from None
    try:
        with tifffile.TiffFile(path) as file:
            every: Any = file.pages
            pages = [each for each in every if tiff.is_page(each.subfiletype)] or [every[0]]
            chosen = pages[0 if len(pages) == 1 else bands.check_page(page, len(pages))]
            shape = chosen.shape
            if len(shape) == 2 and shape[0] * shape[1] <= headers.MAX_PIXELS:
                orientation = int(chosen.tags.valueof(274, default=1))
                return bands.turned(chosen.asarray()[..., None], orientation)[..., 0]
    except UnfitError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # of any type: its parser raises what it stumbles on
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: the mask is damaged ({reason}); restore or remove it") from error
    raise ValueError(
        f"{path}: a mask is a picture (H, W) of at most {headers.MAX_PIXELS:,} pixels, this has {shape}; "
        "save one mask"
    )


def integer_ids(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return the ids `(H, W)` int32 of integers; raise for ids that do not fit into 16 bits."""
    wide = pixels.dtype.itemsize > 2 or pixels.dtype.kind == "i"
    if wide and not 0 <= pixels.min() <= pixels.max() < _IDS:
        mend = "write void as 255" if pixels.min() < 0 else "save a 16-bit PNG"
        raise ValueError(f"{path}: ids {pixels.min()} to {pixels.max()} are not within 0..{_IDS - 1}; {mend}")
    return pixels.astype("int32")
