"""One picture and its mask, read from files that may vanish or change while a data set is read."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg.data.class_masks import name_of
from kseg.data.files import ImageMaskFiles
from kseg.data.headers import Header, image_header
from kseg.data.labels import Labels
from kseg.data.mask_files import mask_header, read_mask
from kseg.data.reading import AS_COLOURS, ReadingOptions, check_pixels
from kseg.data.segments import Window
from kseg.disk import stamp


class PairReader:
    """Reads the pairs of a data set by number.

    Args:
        files: of one split.
        image_headers, mask_headers: of `kseg.data.files.read_headers`.
        labels: what the ids mean.
        options: how pictures are read.
    """

    def __init__(
        self,
        files: ImageMaskFiles,
        image_headers: Sequence[Header],
        mask_headers: Sequence[Header],
        labels: Labels,
        options: ReadingOptions = AS_COLOURS,
    ) -> None:
        if not options.plain:
            image_headers = [replace(header, plain=False) for header in image_headers]
        self.options = options
        self.images = Watched(files.images, image_headers, options.read, decode_image)
        if labels.colors is not None:
            mask_headers = [replace(header, plain=False) for header in mask_headers]
        read = partial(read_mask, colors=labels.colors, page=options.page)
        self.masks = Watched(files.masks, mask_headers, read, decode_mask)
        self.labels = labels

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return picture `(H, W, C)` of `options.dtype` and ids `(H, W)`, uint8 or int32.

        Raises:
            ValueError: naming the file that vanished, changed, is damaged, or holds an id that is no class.
        """
        image, mask = self.images.pixels(index), self.masks.pixels(index)
        return image, self.labels.mapped(mask, self.masks.paths[index])

    def image_window(self, index: int, window: Window) -> np.ndarray:
        """Return a window of a picture that is too large for memory."""
        return self.options.read(self.images.paths[index], window)

    def mask_window(self, index: int, window: Window) -> np.ndarray:
        """Return the ids `(h, w)` int32 of a window of such a picture's mask."""
        path = self.masks.paths[index]
        return self.labels.mapped(read_mask(path, self.labels.colors, window), path)

    def check_unchanged(self, index: int) -> None:
        """Raise, by name, if a picture or mask of which windows are read is not what it was."""
        deep, page = self.options.value_range is not None, self.options.page
        path, header = self.images.paths[index], self.images.headers[index]
        if stamp(path) != header.stamp:
            check_size(path, image_header(path, page, deep, windows=True).size, header)
        path, header = self.masks.paths[index], self.masks.headers[index]
        if stamp(path) != header.stamp:
            check_size(path, mask_header(path, windows=True).size, header)


class Watched:
    """Files that may vanish or change while they are read: none of it goes unnamed.

    What a header said may be true no more. So before each use a file is looked at: a plain one that is as it
    was is decoded at once, the first time after a search for damage; any other is read with every check.

    Args:
        paths: of pictures or masks, tuples of masks of one file per class; those are never plain.
        headers: of `kseg.data.headers`, one for each.
        read: `path → pixels`, with every check.
        decode: `bytes of a plain file → pixels`, the same without checks.
    """

    def __init__(
        self,
        paths: Sequence[Any],
        headers: Sequence[Header],
        read: Callable[[Any], np.ndarray],
        decode: Callable[[bytes], np.ndarray],
    ) -> None:
        self.paths, self.headers, self.read, self.decode = paths, headers, read, decode
        self.sound: set[int] = set()

    def pixels(self, index: int) -> np.ndarray:
        """Return what is in a file, of the size that its header had."""
        path = self.paths[index]
        pixels = self._decoded(index)
        if pixels is None:
            pixels = self.read(path)
        check_size(path, pixels.shape[:2], self.headers[index])
        return pixels

    def _decoded(self, index):
        """Return the pixels of a plain file that is as it was, else `None`."""
        path, header = self.paths[index], self.headers[index]
        if not header.plain or stamp(path) != header.stamp:
            return None
        try:
            content = Path(path).read_bytes()
        except OSError:  # it vanished just now, which every check names
            return None
        if index not in self.sound:
            check_pixels(path, content)
            self.sound.add(index)
        try:
            return self.decode(content)
        except Exception:  # of any type, as decoders raise: it changed just now
            return None


def check_size(path: Any, size: tuple[int, ...], header: Header) -> None:
    """Raise, by name, if a file has another size `(H, W)` than its header had."""
    if tuple(size) != tuple(header.size):
        now, before = (f"{width}×{height}" for height, width in (size, header.size))
        raise ValueError(
            f"{name_of(path)}: has {now} pixels now, and had {before} when the data were opened; open them "
            "anew"
        )


def decode_image(content: bytes) -> np.ndarray:
    """Return `(H, W, 3)` uint8 of an 8-bit JPEG or PNG, grey or RGB, as Pillow decodes it."""
    import simplejpeg

    if content[:2] == b"\xff\xd8":
        return simplejpeg.decode_jpeg(content, "RGB", fastdct=False, fastupsample=False)
    with Image.open(BytesIO(content), formats=("PNG",)) as image:
        return np.asarray(image.convert("RGB"))


def decode_mask(content: bytes) -> np.ndarray:
    """Return `(H, W)` uint8 of an 8-bit grey PNG."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, "uint8"), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError("no 8-bit grey PNG")  # it changed just now
    return pixels
