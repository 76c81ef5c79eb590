"""Pictures of several bands, of deep numbers and on pages: TIFF by tifffile, arrays of NumPy.

Pillow knows no picture of five bands or of three floats, and takes four bands for colours with alpha.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data import segments, tiff
from kseg.data.file_errors import UnfitError
from kseg.data.segments import Window
from kseg.types import PathLike

_COLOUR_MODELS = (0, 1, 2, 3, 6)  # white is zero, black is zero, RGB, palette, YCbCr
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_JPEG = (6, 7)
# EXIF orientation → whether rows and columns change places, then which axes run backwards.
_TURNS = {
    **{1: (False, ()), 2: (False, (1,)), 3: (False, (0, 1)), 4: (False, (0,))},
    **{5: (True, ()), 6: (True, (1,)), 7: (True, (0, 1)), 8: (True, (0,))},
}


def is_array(path: PathLike) -> bool:
    """Tell whether a file is an array of NumPy's, by its suffix."""
    return Path(path).suffix.lower() == ".npy"


def array_of(path: PathLike) -> np.ndarray:
    """Return the picture `(H, W, C)` in a `.npy` file, read when it is asked for; code in it is refused.

    Raises:
        UnfitError: if it holds none.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:  # of any type, as NumPy's parser raises
        raise UnfitError(f"cannot be read as a NumPy array ({error}); save it by numpy.save") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or 0 in array.shape:
        raise UnfitError(f"a picture is an array (H, W) or (H, W, C), this is {np.shape(array)}")
    if array.dtype.kind not in "uif":
        raise UnfitError(f"a picture holds numbers, this is {array.dtype}")
    return array[..., None] if array.ndim == 2 else array


class TiffPage:
    """One page of a TIFF, opened; use it in a `with` statement.

    Args:
        path: the file.
        number: of the page, from 0; `None` is the only one. Smaller copies of a page do not count.

    Attributes:
        size: `(H, W)` in pixels, as displayed.
        bands: int, colours and measurements, without the alpha channel.
        has_alpha: whether an alpha channel follows.
        dtype: str, of the numbers.
        bits: int, of a number.

    Raises:
        UnfitError: if it cannot be read, or if there are several pages and none is named.
    """

    def __init__(self, path: PathLike, number: int | None = None) -> None:
        self._file = _tifffile().TiffFile(path)
        try:
            self._page = self._chosen(number)
            self._read_tags(self._page)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TiffPage:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _chosen(self, number):
        whole = [page for page in self._file.pages if tiff.is_page(page.subfiletype)] or [self._file.pages[0]]
        return whole[check_page(number, len(whole))]

    def _read_tags(self, page):
        axes = page.axes
        if sorted(axes) not in (["X", "Y"], ["S", "X", "Y"]) or page.dtype is None:
            raise UnfitError(f"holds no picture of rows, columns and bands (axes {axes}); save it as one")
        model = int(page.photometric)
        if model not in _COLOUR_MODELS or (model == _YCBCR and int(page.compression) not in _JPEG):
            raise UnfitError(f"has colours as {page.photometric.name}; save it in RGB")
        in_bytes = page.dtype in (np.uint8, bool)  # bool is one bit
        if page.dtype.kind not in "uifb" or (model in (_WHITE_IS_ZERO, _PALETTE) and not in_bytes):
            raise UnfitError(f"holds {page.photometric.name} in {page.dtype}; save it with 0 for black")
        shape = dict(zip(axes, page.shape, strict=True))
        orientation = int(page.tags.valueof(274, default=1))
        self._orientation = orientation if orientation in _TURNS else 1
        self.size = (shape["Y"], shape["X"]) if self._orientation < 5 else (shape["X"], shape["Y"])
        total = 3 if model == _PALETTE else shape.get("S", 1)
        self.bands = tiff.colour_bands(total, tuple(map(int, page.extrasamples)))
        self.has_alpha, self.bits = self.bands < total, int(page.bitspersample)
        self.dtype = "uint8" if page.dtype == bool else page.dtype.name

    def pixels(self, window: Window | None = None) -> np.ndarray:
        """Return all bands and the alpha channel `(H, W, C)` as displayed, in the numbers of the file.

        Args:
            window: rows and columns as displayed; `None` is all.

        Raises:
            UnfitError: if the window lies in pieces of the file that are too large to be decoded.
        """
        page, model = self._page, int(self._page.photometric)
        array = self.stored(window)
        if model == _PALETTE:
            array = (np.moveaxis(page.colormap, 0, -1) >> 8).astype("uint8")[array[..., 0]]
        elif self.bits < 8:
            array = (array.astype("uint8") * (255 // (2**self.bits - 1))).astype("uint8")
        return 255 - array if model == _WHITE_IS_ZERO else array

    def check_pieces(self) -> None:
        """Raise `UnfitError` if windows cannot be read, as its tiles or strips are too large."""
        segments.check_pieces(self._page)

    def stored(self, window: Window | None = None) -> np.ndarray:
        """Return what `pixels` does without a change: indices of a palette, grey of few bits as it is."""
        if window is None:
            array = self._page.asarray()
            separate = "S" in self._page.axes
            array = np.moveaxis(array, self._page.axes.index("S"), -1) if separate else array[..., None]
        else:
            array = segments.read(self._page, lying(window, self.size, self._orientation))
        array = array.astype("uint8") if array.dtype == bool else array
        return turned(array, self._orientation)


def check_page(number: int | None, count: int, what: str = "pages") -> int:
    """Return the number of the page to read.

    Raises:
        UnfitError: if there are several and none is named, or there is none of that number.
    """
    if number is None and count > 1:
        raise UnfitError(
            f"{count} pictures in one file; name one by page=, 0 to {count - 1}, or save each as a file of "
            "its own"
        )
    if number is not None and not 0 <= number < count:
        raise UnfitError(f"has {count} {what}, 0 to {count - 1}, and page={number} is asked for")
    return number or 0


def deep_png(content: bytes, orientation: int = 1) -> np.ndarray:
    """Return `(H, W, C)` uint16 of a PNG of 16 bits, with its alpha channel, turned as its EXIF says."""
    pixels = _imported("imagecodecs").png_decode(content)
    return turned(pixels[..., None] if pixels.ndim == 2 else pixels, orientation)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return `(H, W, C)` as displayed, by its EXIF orientation."""
    swaps, backwards = _TURNS[orientation]
    pixels = np.swapaxes(pixels, 0, 1) if swaps else pixels
    return np.flip(pixels, backwards) if backwards else pixels


def lying(window: Window, size: tuple[int, int], orientation: int) -> Window:
    """Return the rows and columns of a window in the file, by those as displayed.

    Args:
        window: rows and columns, each with a start and a stop.
        size: `(H, W)` as displayed.
        orientation: of EXIF, 1 to 8.
    """
    swaps, backwards = _TURNS[orientation]
    rows, columns = (
        slice(length - part.stop, length - part.start) if axis in backwards else part
        for axis, (part, length) in enumerate(zip(window, size, strict=True))
    )
    return (columns, rows) if swaps else (rows, columns)


def _tifffile():
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it cannot read is an error here
    _imported("imagecodecs")
    return _imported("tifffile")


def _imported(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise UnfitError(
            f"its bands and numbers are read by {name}, which is missing: pip install 'kseg[bands]'"
        ) from error
