"""The pixels of picture files, as displayed."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kseg.data.damage import damage_in
from kseg.data.headers import (
    bits_of,
    depth_problem,
    first_line,
    image_header,
    opened,
    orientation_of,
    out_of_range,
)
from kseg.types import PathLike

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_FULL_RANGE = 2**14  # pictures of 16 bits reach it


def read_image(path: PathLike, channels: int = 3) -> np.ndarray:
    """Return the picture `(H, W, channels)` uint8 as displayed: EXIF orientation is applied.

    Args:
        path: the file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        ValueError: if the file cannot be read, is damaged, or does not hold 0–255 in 8 bits or fill 16; it
            names it and says what it holds.
    """
    if channels not in _MODES:
        raise ValueError(
            f"{path}: picture files have 1, 3 or 4 channels, the model takes {channels}; give an array"
        )
    image_header(path)
    with opened(path) as image:
        check_pixels(path, Path(path).read_bytes(), image.mode == "CMYK")
        try:
            image.load()
        except Exception as error:
            raise damaged(path, "picture", error) from error
        return pixels_of(image, channels, str(path), bits_of(image, path))


def check_pixels(name: PathLike, content: bytes, cmyk: bool = False) -> None:
    """Raise, by its name, if there is damage inside a JPEG or PNG that decoders pass over."""
    problem = damage_in(content, cmyk)
    if problem:
        raise ValueError(f"{name}: is damaged ({problem}); restore or remove it")


def pixels_of(image: Image.Image, channels: int, name: str = "image", bits: int = 8) -> np.ndarray:
    """Return the pixels `(H, W, channels)` uint8 of a Pillow image, turned as its EXIF orientation says.

    Args:
        image: as opened.
        channels: 1, 3 or 4.
        name: what errors call it.
        bits: of a sample in its file; Pillow keeps the upper 8 of 16-bit colours.

    Raises:
        ValueError: if it holds 32 bits a pixel, or 16 bits of which the upper ones are not used.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"{name}: {depth_problem(image)}")
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
        raise ValueError(f"{name}: {out_of_range(low, high, '16 bits')}")


def damaged(name: PathLike, kind: str, error: Exception) -> ValueError:
    """Return the error that a picture or mask cannot be decoded."""
    # of any type: Pillow's decoders raise what they stumble on
    return ValueError(f"{name}: the {kind} is damaged ({first_line(error)}); restore or remove it")
