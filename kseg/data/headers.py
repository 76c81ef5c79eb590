"""What picture and mask files say of themselves before they are decoded; what is unfit is refused by name."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from kseg.data import tiff
from kseg.disk import check_regular, stamp
from kseg.types import PathLike

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 89_000_000  # Pillow warns of a decompression bomb just above
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # not EPS, whose reader starts Ghostscript
_NAMED = (*_FORMATS, "GIF")  # of masks; of pictures it is opened to be refused
_ORIENTATION = 274  # EXIF tag
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_DEEP = {"I": "32-bit integers", "F": "32-bit floats"}  # modes whose numbers have no common range


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded.

    Attributes:
        size: `(H, W)` in pixels, as displayed (after EXIF orientation).
        plain: whether TensorFlow reads it right.
        stamp: of `kseg.disk.stamp`, to tell whether it is still the same file.
    """

    size: tuple
    plain: bool
    stamp: tuple | None = None


def image_header(path: PathLike) -> Header:
    """Return the header of a picture.

    Raises:
        ValueError: if the file is no file, empty, cut short, no picture, several, of more than `MAX_PIXELS`,
            of bands beside colours and alpha, or of 32 bits; it names it and what was seen.
    """
    with opened(path) as image:
        if image.format == "TIFF":
            tags = tiff.tiff_tags(Path(path)) or {}
            refuse(path, tiff.band_problem(tags) or tiff.sample_problem(tags))
        if image.mode in _DEEP:
            raise ValueError(f"{path}: {depth_problem(image)}")
        orientation, size = orientation_of(image), image.size
        if isinstance(image, TiffImageFile):  # some versions of Pillow have turned its size already
            size = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        width, height = size if orientation < 5 else size[::-1]
        plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L") and orientation == 1
        plain = plain and bits_of(image, path) <= 8
        return Header((height, width), plain, stamp(path))


def opened(path: PathLike, gif: bool = False) -> Image.Image:
    """Open a file of one picture, not yet decoded; raise by name where it is unfit for pictures and masks."""
    path = Path(path)
    check_regular(path)
    try:
        image = Image.open(path, formats=_NAMED)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise _unreadable(path, error) from error
    try:
        image.filename = ""  # Pillow maps files with a name into memory, and then turns grey TIFFs wrongly
        _check_opened(path, image, gif)
    except BaseException:
        image.close()
        raise
    return image


def _check_opened(path, image, gif):
    """Refuse several pictures, a GIF where it may not be, too many pixels, and a file without its end."""
    try:
        count = tiff.count_pictures(image)
    except Exception as error:  # of any type: Pillow's parsers raise what they stumble on
        raise _unreadable(path, error) from error
    if image.format not in ("JPEG", "MPO") and count > 1:  # a phone puts its film behind the picture
        raise ValueError(f"{path}: {count} pictures in one file; save each as a file of its own")
    if image.format == "GIF" and not gif:
        raise ValueError(f"{path}: is a GIF; save it as PNG")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    if image.format in ("JPEG", "PNG") and not _is_whole(path, image.format):
        raise ValueError(
            f"{path}: the file is cut short ({image.format} without its end); restore or remove it"
        )


def _unreadable(path, error):
    if path.is_dir():
        return ValueError(f"{path}: is a folder, not a picture")
    if path.stat().st_size == 0:
        return ValueError(f"{path}: the file is empty (0 bytes); restore or remove it")
    if _begins_as_picture(path):
        return ValueError(
            f"{path}: the file is cut short or damaged ({first_line(error)}); restore or remove it"
        )
    tags = tiff.tiff_tags(path)
    if tags and isinstance(error, UnidentifiedImageError):
        problem = tiff.band_problem(tags) or f"{tiff.described(tags)}; save it in 8 bits or as PNG"
        return ValueError(f"{path}: {problem}")
    return ValueError(f"{path}: cannot be read as a picture ({first_line(error)}); use JPEG or PNG")


def _begins_as_picture(path):
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith((b"\xff\xd8\xff", b"\x89PNG")) or start[:4] + start[8:] == b"RIFFWEBP"


def refuse(path: PathLike, problem: str | None) -> None:
    """Raise, naming the file, if there is a problem."""
    if problem:
        raise ValueError(f"{path}: {problem}")


def _too_large(path):
    return ValueError(f"{path}: has more than {MAX_PIXELS:,} pixels; cut it into tiles")


def depth_problem(image: Image.Image) -> str:
    """Return what is wrong with a picture of 32 bits a pixel, with the range that is in it."""
    try:
        pixels = np.asarray(image)
    except Exception as error:  # of any type: Pillow's decoders raise what they stumble on
        return f"the picture is damaged ({first_line(error)}); restore or remove it"
    return out_of_range(pixels.min(), pixels.max(), _DEEP[image.mode])


def out_of_range(low: float, high: float, kind: str) -> str:
    """Return what is wrong with a picture that holds `low` to `high`, and the mend."""
    return f"holds {low:g}–{high:g} in {kind}, pictures 0–255 in 8 bits; bring it to 0–255 and save it as PNG"


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where none can be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asked for it, Pillow would decode the picture first
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, on which Pillow's parser raises what it stumbles on
        return 1
    return orientation if orientation in range(1, 9) else 1


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _is_whole(path, picture_format):
    """Tell whether the picture has its end; where much follows it, as a phone's film, decode to find out."""
    marker = b"\xff\xd9" if picture_format == "JPEG" else b"IEND"
    with Path(path).open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 4096))  # cameras append a few bytes
        if marker in file.read():
            return True
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def bits_of(image: Image.Image, path: PathLike) -> int:
    """Return the bits of a sample in a file: of a PNG or TIFF what it says, else 8."""
    if image.format == "PNG":
        with Path(path).open("rb") as file:
            return file.read(25)[24]
    if isinstance(image, TiffImageFile):
        return tiff.first(dict(image.tag_v2), tiff.BITS, 1)
    return 8
