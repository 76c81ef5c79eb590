"""The pixels of picture files, as displayed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from kseg.data.bands import deep_png
from kseg.data.damage import damage_in
from kseg.data.file_errors import DepthError, first_line
from kseg.data.headers import (
    Header,
    bits_of,
    depth_error,
    image_header,
    named,
    not_finite,
    opened,
    orientation_of,
    read_bands,
    refuse,
)
from kseg.data.segments import Window, spread_windows
from kseg.data.strangers import content_of
from kseg.types import PathLike
from kseg.value_range import ValueRange

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FULL_RANGE = 2**14  # pictures of 16 bits reach it
_LUMA = (0.299, 0.587, 0.114)  # what Pillow makes grey by


@dataclass(frozen=True)
class ReadingOptions:
    """How the picture files of a data set or of a model are read.

    Attributes:
        channels: number of channels, `None` for those of the file.
        value_range: what the files hold for black and white, `None` for 0–255.
        page: of a file of several, from 0.
    """

    channels: int | None = 3
    value_range: ValueRange | None = None
    page: int | None = None

    @property
    def dtype(self) -> str:
        """Type of the pixels."""
        return "uint8" if self.value_range is None else "float32"

    @property
    def plain(self) -> bool:
        """Whether a plain file is what is wanted."""
        return self.channels == 3 and self.value_range is None and self.page is None

    def read(self, path: PathLike, window: Window | None = None) -> np.ndarray:
        """Return the pixels of a file, or of a window of it, by `read_image`."""
        return read_image(path, self.channels, self.value_range, self.page, window)


AS_COLOURS = ReadingOptions()


def read_image(
    path: PathLike,
    channels: int | None = 3,
    value_range: ValueRange | None = None,
    page: int | None = None,
    window: Window | None = None,
) -> np.ndarray:
    """Return the picture `(H, W, channels)` as displayed: EXIF orientation is applied.

    Args:
        path: the file.
        channels: number of channels: 1 is grey, 3 of grey are equal ones, 4 of RGB add opaque alpha; `None`
            gives the bands of the file without its alpha channel, of grey three.
        value_range: what the file holds for black and white.
        page: of a file of several, from 0.
        window: `None`, or rows and columns as displayed of a TIFF or `.npy` that is too large for memory and
            whose header was looked at.

    Returns:
        uint8, or with `value_range` float32 of 0–255.

    Raises:
        ValueError: if the file cannot be read, is damaged, has other bands, or, without `value_range`, does
            not hold 0–255 in 8 bits or fill 16; it names it and says what it holds.
    """
    if value_range is not None:
        numbers = read_numbers(path, channels, page, window)
        count = value_range.channels
        if count not in (None, numbers.shape[-1]):
            raise ValueError(
                f"{path}: has {numbers.shape[-1]} channels, and value_range names {count}; give one number, "
                "or one for each channel"
            )
        return value_range.to_pixels(numbers)
    if window is not None:
        return read_numbers(path, channels, page, window)
    header = image_header(path, page)
    if header.by_bands:
        return brought_to(*read_bands(path, page), channels, path)
    return _of_pillow(path, header, channels, page)


def read_numbers(
    path: PathLike, channels: int | None = 3, page: int | None = None, window: Window | None = None
) -> np.ndarray:
    """Return the picture `(H, W, channels)` in the numbers of its file, whatever they are.

    Arguments are those of `read_image`.

    Raises:
        ValueError: as `read_image`, and for numbers that are not finite.
    """
    header = None if window is not None else image_header(path, page, deep=True)
    if header is None or header.by_bands:
        numbers = brought_to(*read_bands(path, page, window), channels, path)
    elif header.dtype == "uint16":
        deep, has_alpha = _deep_of_pillow(path)
        numbers = brought_to(deep, has_alpha, channels, path)
    else:
        numbers = _of_pillow(path, header, channels, page)
    refuse(path, not_finite(numbers))
    return numbers


def sample_numbers(path: PathLike, channels: int | None, page: int | None, count: int) -> np.ndarray:
    """Return about `count` pixels `(n, channels)` of a picture of any size, in the numbers of its file."""
    header = image_header(path, page, deep=True, windows=True)
    windows = spread_windows(header.size) if header.is_large else [None]
    parts = [read_numbers(path, channels, page, window) for window in windows]
    pixels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])
    return pixels[:: -(-len(pixels) // count)]


def brought_to(numbers: np.ndarray, has_alpha: bool, channels: int | None, path: PathLike) -> np.ndarray:
    """Return the channels that are asked for.

    Args:
        numbers: `(H, W, C)`.
        has_alpha: whether the last one is an alpha channel, which goes unless as many are asked for.
        channels: as for `read_image`.
        path: what errors name.
    """
    total = numbers.shape[-1]
    bands = total - has_alpha
    wanted = channels or (3 if bands == 1 else bands)
    if wanted == bands or (wanted == total and wanted != 3):
        return numbers[..., :wanted]
    if bands == 1 and wanted == 3:
        return np.repeat(numbers[..., :1], 3, axis=-1)
    if bands == 3 and wanted == 1:
        grey = numbers[..., :3] @ np.array(_LUMA)
        return (grey if numbers.dtype.kind == "f" else np.round(grey)).astype(numbers.dtype)[..., None]
    raise ValueError(_other_bands(path, bands, wanted))


def _other_bands(path, bands, wanted):
    return (
        f"{path}: has {bands} bands, and channels={wanted} are asked for; "
        "keep the bands that are meant, or say channels= as the files have them"
    )


def _of_pillow(path, header: Header, channels, page):
    """Return the uint8 pixels of a file that Pillow reads."""
    channels = channels or header.channels
    if channels not in _MODES:
        raise ValueError(_other_bands(path, header.channels, channels))
    with opened(path, page) as image:
        check_pixels(path, content_of(path), image.mode == "CMYK")
        try:
            image.load()
        except Exception as error:
            raise damaged(path, "picture", error) from error
        return pixels_of(image, channels, str(path), bits_of(image, path))


def _deep_of_pillow(path: PathLike) -> tuple[np.ndarray, bool]:
    """Return all numbers of a PNG of 16 bits, and whether the last one is alpha."""
    check_pixels(path, content_of(path))
    with opened(path) as image:
        orientation, mode = orientation_of(image), image.mode
        if mode.startswith("I;16"):
            try:
                turned = image if orientation == 1 else ImageOps.exif_transpose(image)
                return np.asarray(turned).astype("uint16")[..., None], False
            except Exception as error:
                raise damaged(path, "picture", error) from error
    with named(path):
        numbers = deep_png(content_of(path), orientation)
    return numbers, numbers.shape[-1] in (2, 4)


def check_pixels(name: PathLike, content: bytes, cmyk: bool = False) -> None:
    """Raise, by its name, if there is damage inside a JPEG or PNG that decoders pass over."""
    problem = damage_in(content, cmyk)
    if problem:
        raise ValueError(f"{name}: is damaged ({problem}); restore or remove it")


def pixels_of(
    image: Image.Image,
    channels: int,
    name: str = "image",
    bits: int = 8,
    value_range: ValueRange | None = None,
) -> np.ndarray:
    """Return the pixels `(H, W, channels)` of a Pillow image, turned as its EXIF orientation says.

    Args:
        image: as opened.
        channels: 1, 3 or 4.
        name: what errors call it.
        bits: of a sample in its file; Pillow keeps the upper 8 of 16-bit colours.
        value_range: as for `read_image`.

    Returns:
        uint8, or with `value_range` float32.

    Raises:
        ValueError: if it holds 32 bits a pixel, or 16 bits of which the upper ones are not used.
    """
    if value_range is not None:
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            turned = image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)
            numbers = brought_to(np.asarray(turned)[..., None], False, channels, name)
        else:
            numbers = pixels_of(image, channels, name, bits)
        return value_range.to_pixels(numbers)
    if image.mode in ("I", "F"):
        raise depth_error(image, name)
    if orientation_of(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype("uint16")
        _check_16_bits(pixels.min(), pixels.max(), name)
        image = Image.fromarray((pixels >> 8).astype("uint8"))
    elif bits == 16:
        colours = np.asarray(image)[..., : -1 if image.mode in ("LA", "La", "RGBA", "RGBa") else None]
        _check_16_bits(256 * int(colours.min()), 256 * int(colours.max()) + 255, name)
    return in_channels(image, channels)


def in_channels(image: Image.Image, channels: int) -> np.ndarray:
    """Return the pixels `(H, W, channels)` uint8 of a Pillow image of 8 bits, as they lie."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns
    pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels[..., None] if channels == 1 else pixels


def _check_16_bits(low, high, name):
    """Refuse what has 14 bits or less in 16: a camera's, a scanner's or a satellite's numbers."""
    if 0 < high < _FULL_RANGE:
        raise DepthError(name, low, high, "16 bits")


def damaged(name: PathLike, kind: str, error: Exception) -> ValueError:
    """Return the error that a picture or mask cannot be decoded."""
    # of any type: Pillow's decoders raise what they stumble on
    return ValueError(f"{name}: the {kind} is damaged ({first_line(error)}); restore or remove it")
