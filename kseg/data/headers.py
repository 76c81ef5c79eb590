"""What picture and mask files say of themselves before they are decoded; what is unfit is refused by name."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from kseg.data import bands, tiff
from kseg.data.file_errors import DepthError, UnfitError, first_line
from kseg.data.segments import Window, spread_windows
from kseg.data.strangers import is_whole, unopened, unreadable
from kseg.disk import check_regular, read_patiently, stamp
from kseg.types import PathLike

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 89_000_000  # Pillow warns of a decompression bomb just above
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # not EPS, whose reader starts Ghostscript
_ORIENTATION = 274  # EXIF tag
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_WORDS = {"u": "integers", "i": "integers", "f": "floats"}
_DEEP = {"I": "32-bit integers", "F": "32-bit floats"}  # modes whose numbers have no common range


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded.

    Attributes:
        size: `(H, W)` in pixels, as displayed (after EXIF orientation).
        plain: whether its bytes are decoded without more ado: 8-bit JPEG or PNG, not turned.
        stamp: of `kseg.disk.stamp`, to tell whether it is still the same file.
        channels: bands without an alpha channel; grey counts as three, the same.
        dtype, bits: of the numbers in it.
        by_bands: whether `read_bands` reads it, not Pillow.
    """

    size: tuple
    plain: bool
    stamp: tuple | None = None
    channels: int = 3
    dtype: str = "uint8"
    bits: int = 8
    by_bands: bool = False

    @property
    def is_large(self) -> bool:
        """Whether it has more pixels than are decoded at once."""
        return self.size[0] * self.size[1] > MAX_PIXELS


def image_header(
    path: PathLike, page: int | None = None, deep: bool = False, windows: bool = False
) -> Header:
    """Return the header of a picture.

    Args:
        path: the file.
        page: number of the page or frame, from 0; `None` is the only one.
        deep: whether numbers other than 0–255 are wanted as they are.
        windows: whether windows of it are read, so that a TIFF or `.npy` may have any size.

    Raises:
        ValueError: if the file is no file, empty, cut short, no picture, of several without `page`, of more
            than `MAX_PIXELS`, or, where `deep` is false, of other numbers than 0–255 in 8 bits or 16 that
            are filled; it names it and what was seen.
    """
    path = Path(path)
    tags = tiff.tiff_tags(path) if path.is_file() else None
    if tags is not None:
        refuse(path, tiff.white_problem(tags))
    of_library = tags and (page is not None or tiff.needs_library(tags, deep) or (windows and is_large(tags)))
    if bands.is_array(path) or of_library:
        header = _bands_header(path, page, windows)
        if header.dtype != "uint8" and not deep:
            raise _too_deep(path, page, header)
        return header
    with opened(path, page) as image:
        bits = bits_of(image, path)
        plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L") and orientation_of(image) == 1
        dtype = "uint16" if bits > 8 else "uint8"
        plain = plain and bits <= 8 and page is None
        return Header(size_of(image), plain, stamp(path), dtype=dtype, bits=max(bits, 8))


def is_large(tags: dict) -> bool:
    """Tell whether a TIFF has more pixels than are decoded at once, by its tags."""
    return tiff.first(tags, _WIDTH, 0) * tiff.first(tags, _HEIGHT, 0) > MAX_PIXELS


def _bands_header(path, page, windows):
    """Return the header of a file that `kseg.data.bands` reads."""
    check_regular(path)
    with named(path):
        if bands.is_array(path):
            bands.check_page(page, 1)
            array = bands.array_of(path)
            size, count, dtype = array.shape[:2], array.shape[2], array.dtype
            bits = 8 * dtype.itemsize
        else:
            with bands.TiffPage(path, page) as opened_page:
                size, count = opened_page.size, opened_page.bands
                dtype, bits = np.dtype(opened_page.dtype), opened_page.bits
                if windows and size[0] * size[1] > MAX_PIXELS:
                    opened_page.check_pieces()
    if size[0] * size[1] > MAX_PIXELS and not windows:
        raise too_large(path)
    if count == 1:
        count = 3  # grey counts as colours
    return Header(size, False, stamp(path), count, dtype.name, max(bits, 8), by_bands=True)


def read_bands(
    path: PathLike, page: int | None = None, window: Window | None = None
) -> tuple[np.ndarray, bool]:
    """Return the bands `(H, W, C)` in the numbers of the file, and whether the last one is an alpha channel.

    Of a window, rows and columns as displayed, only those are read.

    Raises:
        ValueError: if they cannot be read; it names the file.
    """
    with named(path):
        if bands.is_array(path):
            return np.array(bands.array_of(path)[window or ...]), False
        with bands.TiffPage(path, page) as opened_page:
            return opened_page.pixels(window), opened_page.has_alpha


@contextlib.contextmanager
def named(path: PathLike) -> Iterator[None]:
    """Raise what goes wrong inside as errors that name the file."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except UnfitError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # of any type: decoders raise what they stumble on
        raise ValueError(
            f"{path}: the file is cut short or damaged ({first_line(error)}); restore or remove it"
        ) from error


def _too_deep(path, page, header):
    """Return the error that a picture holds other numbers than 0–255."""
    parts = spread_windows(header.size) if header.is_large else [None]
    read = [read_bands(path, page, window) for window in parts]
    pixels = np.concatenate(
        [part[..., : -1 if alpha else None].reshape(-1, part.shape[-1] - alpha) for part, alpha in read]
    )
    if problem := not_finite(pixels):
        return ValueError(f"{path}: {problem}")
    kind = f"{header.bits}-bit {_WORDS[pixels.dtype.kind]}" if header.bits != 16 else "16 bits"
    kind = kind if pixels.dtype.kind != "i" or header.bits > 16 else f"{header.bits}-bit signed integers"
    kind += f", {pixels.shape[-1]} bands" if pixels.shape[-1] > 1 else ""
    return DepthError(path, pixels.min(), pixels.max(), kind)


def not_finite(numbers: np.ndarray) -> str | None:
    """Return what is wrong with numbers `(..., C)` of which some are none."""
    if numbers.dtype.kind != "f" or np.isfinite(numbers).all():
        return None
    count = int((~np.isfinite(numbers)).any(-1).sum())
    return f"{count} pixels are NaN or infinite; fill them with a number"


def opened(path: PathLike, page: int | None = None, only: bool = False) -> Image.Image:
    """Open a file of one picture, not yet decoded; raise by name where it is unfit for pictures and masks.

    Args:
        path: the file.
        page: of several frames the one to read, from 0.
        only: whether the only frame of a file is read whatever `page` says.
    """
    path = Path(path)
    check_regular(path)
    try:
        image = read_patiently(lambda: Image.open(path, formats=FORMATS))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise too_large(path) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of Pillow
            raise unopened(path, error) from error
        raise unreadable(path, error) from error
    try:
        image.filename = ""  # Pillow maps files with a name into memory, and then turns grey TIFFs wrongly
        _check_opened(path, image, page, only)
    except BaseException:
        image.close()
        raise
    return image


def _check_opened(path, image, page, only):
    """Refuse several pictures, too many pixels, and a file without its end."""
    try:
        pages = tiff.pages_of(image)
        of_film = page is None and image.format in ("JPEG", "MPO")  # a phone puts it behind the picture
        is_told = of_film or (only and len(pages) == 1)
        frame = pages[0 if is_told else bands.check_page(page, len(pages), "frames")]
        if frame:
            image.seek(frame)
    except UnfitError as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # of any type: Pillow's parsers raise what they stumble on
        raise unreadable(path, error) from error
    if image.width * image.height > MAX_PIXELS:
        raise too_large(path)
    if image.format in ("JPEG", "PNG") and not is_whole(path, image.format, FORMATS):
        raise ValueError(
            f"{path}: the file is cut short ({image.format} without its end); restore or remove it"
        )


def refuse(path: PathLike, problem: str | None) -> None:
    """Raise, naming the file, if there is a problem."""
    if problem:
        raise ValueError(f"{path}: {problem}")


def too_large(path: PathLike) -> ValueError:
    """Return the error that a file has more pixels than are decoded at once."""
    return ValueError(
        f"{path}: has more than {MAX_PIXELS:,} pixels; cut it into tiles, or save it as a tiled TIFF or "
        ".npy, of which kseg.data.augment reads crops"
    )


def depth_error(image: Image.Image, name: PathLike) -> ValueError:
    """Return the error of a picture of 32 bits a pixel, with the range that is in it."""
    try:
        pixels = np.asarray(image)
    except Exception as error:  # of any type: Pillow's decoders raise what they stumble on
        return ValueError(f"{name}: the picture is damaged ({first_line(error)}); restore or remove it")
    return DepthError(name, pixels.min(), pixels.max(), _DEEP[image.mode])


def size_of(image: Image.Image) -> tuple[int, int]:
    """Return `(H, W)` of an opened picture as displayed, turned as its EXIF orientation says."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # some versions of Pillow have turned its size already
        width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
    return (height, width) if orientation_of(image) < 5 else (width, height)


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where none can be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asked for it, Pillow would decode the picture first
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, on which Pillow's parser raises what it stumbles on
        return 1
    return orientation if orientation in range(1, 9) else 1


def bits_of(image: Image.Image, path: PathLike) -> int:
    """Return the bits of a sample in a file: of a PNG or TIFF what it says, else 8."""
    if image.format == "PNG":
        with Path(path).open("rb") as file:
            return file.read(25)[24]
    if isinstance(image, TiffImageFile):
        return tiff.first(dict(image.tag_v2), tiff.BITS, 1)
    return 8
