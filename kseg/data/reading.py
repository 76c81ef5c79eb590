"""The pixels of picture and mask files.

TensorFlow decodes the common case fast: 8-bit JPEG and PNG. It reads palette masks as luminance, scales masks
of 1, 2 and 4 bits, and ignores EXIF orientation, all silently; such files go through Pillow.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kseg.data.damage import damage_in
from kseg.data.headers import (
    Header,
    bits_of,
    depth_problem,
    first_line,
    image_header,
    mask_header,
    opened,
    orientation_of,
    out_of_range,
)
from kseg.disk import stamp
from kseg.types import PathLike

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_IDS = 2**16  # masks have up to 16 bits
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
        check_pixels(path, image.mode == "CMYK")
        try:
            image.load()
        except Exception as error:
            raise _damaged(path, "picture", error) from error
        return pixels_of(image, channels, str(path), bits_of(image, path))


def check_pixels(path: PathLike, cmyk: bool = False) -> None:
    """Raise, naming the file, if there is damage inside a JPEG or PNG that decoders pass over."""
    problem = damage_in(Path(path).read_bytes(), cmyk)
    if problem:
        raise ValueError(f"{path}: is damaged ({problem}); restore or remove it")


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
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB, Pillow warns
    pixels = np.asarray(image.convert(_MODES[channels]))
    return pixels[..., None] if channels == 1 else pixels


def _check_16_bits(low, high, name):
    """Refuse what has 14 bits or less in 16: a camera's, a scanner's or a satellite's numbers."""
    if 0 < high < _FULL_RANGE:
        raise ValueError(f"{name}: {out_of_range(low, high, '16 bits')}")


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
            raise _damaged(path, "mask", error) from error
        if image.format in ("PNG", "TIFF") and image.mode == "L":
            pixels = pixels // (255 // (2 ** min(bits_of(image, path), 8) - 1))  # Pillow scales 2 and 4 bits
    if image.mode == "I" and not 0 <= pixels.min() <= pixels.max() < _IDS:
        raise ValueError(
            f"{path}: ids {pixels.min()} to {pixels.max()} are not within 0..{_IDS - 1}; save a 16-bit PNG"
        )
    return pixels.astype("int32")


def _damaged(path, kind, error):
    # of any type: Pillow's decoders raise what they stumble on
    return ValueError(f"{path}: the {kind} is damaged ({first_line(error)}); restore or remove it")


class Watched:
    """The files of a dataset, which may vanish or change while it is read: none of it goes unnamed.

    TensorFlow decodes plain files faster than Pillow, but does not name one that it cannot read; and what a
    header said may be true no more. So before each use a file is looked at: as it was, it is decoded fast,
    the first time after a search for damage; else as any other file, with every check.

    Args:
        paths: of pictures or masks.
        headers: of `kseg.data.headers`, one for each.
        read: `read_image` or `read_mask`.
    """

    def __init__(
        self, paths: Sequence[PathLike], headers: Sequence[Header], read: Callable[[PathLike], np.ndarray]
    ) -> None:
        self.headers = {os.fsencode(path): header for path, header in zip(paths, headers, strict=True)}
        self.read = read
        self.sound: set[bytes] = set()

    def is_plain(self, name: bytes) -> bool:
        """Tell whether TensorFlow reads a file right."""
        header = self.headers[name]
        if not header.plain or stamp(name) != header.stamp:
            return False
        if name not in self.sound:
            check_pixels(_text(name))
            self.sound.add(name)
        return True

    def pixels(self, name: bytes) -> np.ndarray:
        """Return what is in a file, of the size that its header had."""
        pixels, (height, width) = self.read(_text(name)), self.headers[name].size
        if pixels.shape[:2] != (height, width):
            size = f"{pixels.shape[1]}×{pixels.shape[0]}"
            raise ValueError(
                f"{_text(name)}: has {size} pixels now, and had {width}×{height} when the data were opened; "
                "open them anew"
            )
        return pixels


def are_plain(
    image_path: tf.Tensor, images: Watched, mask_path: tf.Tensor, masks: Watched
) -> tuple[tf.Tensor, tf.Tensor]:
    """Tell in a `tf.data` graph whether TensorFlow reads a picture and its mask right."""

    def ask(image_name, mask_name):
        return images.is_plain(image_name), masks.is_plain(mask_name)

    return tf.numpy_function(ask, [image_path, mask_path], (tf.bool, tf.bool))


def load_image(path: tf.Tensor, plain: tf.Tensor, watched: Watched) -> tf.Tensor:
    """Return `(H, W, 3)` uint8 in a `tf.data` graph; `plain` is of `are_plain`."""

    def fast():
        # the accurate transform: what Pillow and every other reader of the same file see
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        return tf.ensure_shape(pixels, (None, None, 3))

    def slow():
        return tf.ensure_shape(tf.numpy_function(watched.pixels, [path], tf.uint8), (None, None, 3))

    return tf.cond(plain, fast, slow)


def load_mask(path: tf.Tensor, plain: tf.Tensor, watched: Watched) -> tf.Tensor:
    """Return `(H, W)` int32 in a `tf.data` graph; `plain` is of `are_plain`."""

    def fast():
        return tf.cast(tf.io.decode_png(tf.io.read_file(path), channels=1)[..., 0], tf.int32)

    def slow():
        return tf.ensure_shape(tf.numpy_function(watched.pixels, [path], tf.int32), (None, None))

    return tf.cond(plain, fast, slow)


def _text(name):
    return os.fsdecode(name)
