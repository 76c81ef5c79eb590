"""Picture and mask files: what their headers say, and their pixels.

TensorFlow decodes the common case fast: 8-bit JPEG and PNG. It reads palette masks as luminance, scales masks
of 1, 2 and 4 bits, and ignores EXIF orientation, all silently; such files go through Pillow.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps, UnidentifiedImageError

from kseg.types import PathLike

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 89_000_000  # Pillow warns of a decompression bomb just above
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # not EPS, whose reader starts Ghostscript
_ORIENTATION = 274  # EXIF tag
_WIDTH, _HEIGHT = 256, 257  # TIFF tags
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_IDS = 2**16  # masks have up to 16 bits


@dataclass(frozen=True)
class Header:
    """What a file says of itself before it is decoded.

    Attributes:
        size: `(H, W)` in pixels, as displayed (after EXIF orientation).
        plain: whether TensorFlow reads it right.
    """

    size: tuple
    plain: bool


def image_header(path: PathLike) -> Header:
    """Return the header of a picture.

    Raises:
        ValueError: if the file is empty, cut short, no picture, or of more than `MAX_PIXELS`; it names it.
    """
    with _opened(path) as image:
        orientation, size = _orientation(image), image.size
        if image.format == "TIFF":  # some versions of Pillow have turned its size already
            size = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        width, height = size if orientation < 5 else size[::-1]
        plain = image.format in ("JPEG", "PNG") and image.mode in ("RGB", "L") and orientation == 1
        return Header((height, width), plain)


def mask_header(path: PathLike) -> Header:
    """Return the header of a mask.

    Raises:
        ValueError: as `image_header`, and for a JPEG (lossy: it invents ids) or a colour picture.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise ValueError(f"{path}: a JPEG mask has wrong ids along every border; save masks as PNG")
        if image.mode not in ("L", "P", "1", "I", "I;16", "I;16B"):
            raise ValueError(
                f"{path}: a mask has one channel of class ids, this is {image.mode}; convert colours to ids"
            )
        size = image.size[::-1]
        plain = image.format == "PNG" and image.mode == "L" and _png_bits(path) == 8
        return Header(size, plain)


def _opened(path):
    path = Path(path)
    try:
        image = Image.open(path, formats=_FORMATS)
        image.filename = ""  # Pillow maps files with a name into memory, and then turns grey TIFFs wrongly
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        if path.is_dir():
            raise ValueError(f"{path}: is a folder, not a picture") from error
        if path.stat().st_size == 0:
            raise ValueError(f"{path}: the file is empty (0 bytes); restore or remove it") from error
        raise ValueError(
            f"{path}: cannot be read as a picture ({_first_line(error)}); use JPEG or PNG"
        ) from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise _too_large(path)
    if image.format in ("JPEG", "PNG") and not _is_whole(path, image.format):
        image.close()
        raise ValueError(
            f"{path}: the file is cut short ({image.format} without its end); restore or remove it"
        )
    return image


def _too_large(path):
    return ValueError(f"{path}: has more than {MAX_PIXELS:,} pixels; cut it into tiles")


def _orientation(image):
    """Return the EXIF orientation, 1 to 8; 1 where none can be read."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # asked for it, Pillow would decode the picture first
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF, on which Pillow's parser raises what it stumbles on
        return 1
    return orientation if orientation in range(1, 9) else 1


def _first_line(error):
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


def _png_bits(path):
    with Path(path).open("rb") as file:
        return file.read(25)[24]


def read_image(path: PathLike, channels: int = 3) -> np.ndarray:
    """Return the picture `(H, W, channels)` uint8 as displayed: EXIF orientation is applied.

    Args:
        path: the file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        ValueError: if the file cannot be read; it names it.
    """
    if channels not in _MODES:
        raise ValueError(
            f"{path}: picture files have 1, 3 or 4 channels, the model takes {channels}; give an array"
        )
    image_header(path)
    with _opened(path) as image:
        try:
            return pixels_of(image, channels)
        except Exception as error:
            raise _damaged(path, "picture", error) from error


def pixels_of(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels `(H, W, channels)` uint8 of a Pillow image, turned as its EXIF orientation says."""
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        image = Image.fromarray((np.asarray(image).astype("uint32") >> 8).astype("uint8"))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns
    pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels[..., None] if channels == 1 else pixels


def read_mask(path: PathLike) -> np.ndarray:
    """Return the class ids `(H, W)` int32 of a mask file: grey of 1 to 16 bits, or palette indices.

    Raises:
        ValueError: if the file cannot be read or holds no ids; it names it.
    """
    mask_header(path)
    with _opened(path) as image:
        try:
            pixels = np.asarray(image)
        except Exception as error:
            raise _damaged(path, "mask", error) from error
        if image.format == "PNG" and image.mode == "L":
            pixels = pixels // (255 // (2 ** min(_png_bits(path), 8) - 1))  # Pillow scales 2 and 4 bits
    if image.mode == "I" and not 0 <= pixels.min() <= pixels.max() < _IDS:
        raise ValueError(
            f"{path}: ids {pixels.min()} to {pixels.max()} are not within 0..{_IDS - 1}; save a 16-bit PNG"
        )
    return pixels.astype("int32")


def _damaged(path, kind, error):
    # of any type: Pillow's decoders raise what they stumble on
    return ValueError(f"{path}: the {kind} is damaged ({_first_line(error)}); restore or remove it")


def load_image(path: tf.Tensor, plain: tf.Tensor | bool) -> tf.Tensor:
    """Return `(H, W, 3)` uint8 in a `tf.data` graph; `plain` is a bool tensor, or `True` for all files."""

    def fast():
        # the accurate transform: what Pillow and every other reader of the same file see
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, (None, None, 3))

    def slow():
        pixels = tf.numpy_function(lambda name: read_image(_text(name)), [path], tf.uint8)
        return tf.ensure_shape(pixels, (None, None, 3))

    return fast() if plain is True else tf.cond(plain, fast, slow)


def load_mask(path: tf.Tensor, plain: tf.Tensor | bool) -> tf.Tensor:
    """Return `(H, W)` int32 in a `tf.data` graph; `plain` as for `load_image`."""

    def fast():
        return tf.cast(tf.io.decode_png(tf.io.read_file(path), channels=1)[..., 0], tf.int32)

    def slow():
        pixels = tf.numpy_function(lambda name: read_mask(_text(name)), [path], tf.int32)
        return tf.ensure_shape(pixels, (None, None))

    return fast() if plain is True else tf.cond(plain, fast, slow)


def _text(name):
    return name.decode("utf-8", "surrogateescape")
