"""Mask files: what they say of themselves, and the class ids in them."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kseg.data import bands, tiff
from kseg.data.arrays import array_header, array_mask, integer_ids, is_array_file, tiff_array
from kseg.data.class_masks import MaskPath, class_masks_header, name_of, read_class_masks
from kseg.data.colors import MaskColors, colors_problem
from kseg.data.headers import (
    SUFFIXES,
    Header,
    bits_of,
    is_large,
    named,
    opened,
    orientation_of,
    refuse,
    size_of,
)
from kseg.data.reading import check_pixels, damaged
from kseg.data.segments import Window, blocks
from kseg.data.strangers import content_of
from kseg.disk import stamp

MASK_SUFFIXES = (*SUFFIXES, ".npy")
_COLOURS = {"RGB": "RGB", "RGBA": "RGB", "LA": "L", "PA": "P"}  # mode → mode without alpha
_MODES = ("L", "P", "1", "I", "I;16", "I;16B", *_COLOURS)


def mask_header(path: MaskPath, windows: bool = False, page: int | None = None) -> Header:
    """Return the header of a mask; a TIFF or `.npy` of which `windows` are read may have any size.

    `page` names one of several pages or frames, from 0; a mask of one is read whatever it says.

    Raises:
        ValueError: as `image_header`, and where the compression is lossy (it invents ids) or the numbers are
            no integers.
    """
    if isinstance(path, tuple):
        return class_masks_header(path, partial(mask_header, page=page))
    path = Path(path)
    if is_array_file(path):
        return array_header(path, windows)
    if windows and _is_large_tiff(path):
        return _large_header(path)
    if _needs_tifffile(path):
        return Header(tiff_array(path, page).shape[:2], False, stamp(path))
    with opened(path, page, only=True) as image:
        _check_mask(path, image)
        plain = image.format == "PNG" and image.mode == "L" and bits_of(image, path) == 8 and page is None
        return Header(size_of(image), plain and orientation_of(image) == 1, stamp(path))


def read_mask(
    path: MaskPath,
    colors: MaskColors | None = None,
    window: Window | None = None,
    page: int | None = None,
) -> np.ndarray:
    """Return the class ids `(H, W)` int32 of a mask file, turned as its EXIF orientation says.

    Ids are grey levels of 1 to 16 bits, also where three equal channels or alpha hold them, the indices of a
    palette whatever its colours, or the integers of a `.npy` file or TIFF. A GIF knows palettes alone: where
    its colours are grey, their levels are the ids. With `colors`, the colours of a pixel tell its id.
    A tuple is one file per class, from class 1 on, which marks where it is; `None` for a class that is not
    there. Of a TIFF or `.npy` that is too large for memory a window is read, rows and columns as displayed.
    `page` is as for `mask_header`.

    Raises:
        ValueError: if the file cannot be read or holds no ids; it names it.
    """
    if isinstance(path, tuple):
        if colors is not None:
            raise ValueError(f"{name_of(path)}: one file per class has no colours; leave out colors=")
        return read_class_masks(path, partial(read_mask, page=page))
    path = Path(path)
    if is_array_file(path):
        return _ids(array_mask(path, windows=window is not None)[window or ...], path, colors)
    if window is not None:
        return _ids(_without_alpha(_tiff_window(path, window, colors), path), path, colors)
    if _needs_tifffile(path):
        return _ids(tiff_array(path, page), path, colors)
    with opened(path, page, only=True) as image:
        _check_mask(path, image)
        check_pixels(path, content_of(path))
        try:
            image.load()
            turned = image if orientation_of(image) == 1 else ImageOps.exif_transpose(image)
            pixels = np.asarray(_ids_of(turned) if colors is None else _colors_of(turned))
            pixels = unscaled(pixels, image, bits_of(image, path)) if colors is None else pixels
        except Exception as error:
            raise damaged(path, "mask", error) from error
    return _ids(_without_alpha(pixels, path), path, colors)


def count_ids(path: MaskPath, colors: MaskColors | None = None, page: int | None = None) -> np.ndarray:
    """Return how many pixels of a mask have each id in its file, int64 `(largest id + 1,)`, of any size.

    `page` is as for `mask_header`.

    Raises:
        ValueError: as `read_mask`.
    """
    if not isinstance(path, tuple) and (is_array_file(Path(path)) or _is_large_tiff(Path(path))):
        header, counts = mask_header(path, windows=True), np.zeros(1, "int64")
        for window in blocks(header.size) if header.is_large else ():
            more = np.bincount(read_mask(path, colors, window).ravel(), minlength=len(counts))
            more[: len(counts)] += counts
            counts = more
        if header.is_large:
            return counts
    return np.bincount(read_mask(path, colors, page=page).ravel())


def unscaled(pixels: np.ndarray, image: Image.Image, bits: int) -> np.ndarray:
    """Return the pixels of a Pillow image as its file has them: Pillow scales grey of 2 and 4 bits.

    Args:
        pixels: of the image, turned or not.
        image: as opened.
        bits: of a sample in its file.
    """
    is_scaled = image.format in ("PNG", "TIFF") and image.mode == "L"
    return pixels // (255 // (2 ** min(bits, 8) - 1)) if is_scaled else pixels


def _is_large_tiff(path):
    tags = tiff.tiff_tags(path) if path.is_file() else None
    return tags is not None and is_large(tags)


def _large_header(path):
    """Return the header of a TIFF of which windows are read."""
    tags = tiff.tiff_tags(path) or {}
    refuse(path, tiff.ids_problem(tags) or tiff.band_problem(tags))
    with named(path), bands.TiffPage(path) as page:
        page.check_pieces()
        if page.dtype.startswith("float") or (page.bands == 3 and page.bits > 8):
            what = "floats" if page.dtype.startswith("float") else f"colours of {page.bits} bits"
            raise bands.UnfitError(f"a mask has one channel of class ids, this is {what}; save integers")
        return Header(page.size, False, stamp(path))


def _tiff_window(path, window, colors):
    """Return a window `(h, w)` or `(h, w, C)` of a TIFF as its file has it."""
    with named(path), bands.TiffPage(path) as page:
        pixels = page.stored(window) if colors is None else page.pixels(window)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _needs_tifffile(path):
    """Tell whether a file is a TIFF of integers of 64 bits, which Pillow does not read."""
    tags = (tiff.tiff_tags(path) if path.is_file() else None) or {}
    return tiff.first(tags, tiff.BITS, 1) == 64 and tiff.first(tags, tiff.FORMAT, 1) in (1, 2)


def _check_mask(path, image):
    """Refuse what is lossy or holds no ids, by what the header tells."""
    if image.format in ("JPEG", "MPO"):
        raise ValueError(f"{path}: a JPEG mask has wrong ids along every border; save masks as PNG")
    if image.format == "WEBP" and not _is_lossless_webp(path):
        raise ValueError(f"{path}: a lossy WebP mask has wrong ids along every border; save masks as PNG")
    if image.mode not in _MODES:
        what = "floats" if image.mode == "F" else image.mode
        raise ValueError(f"{path}: a mask has one channel of class ids, this is {what}; save integers as PNG")
    if image.format == "TIFF":
        tags = {tag: image.tag_v2[tag] for tag in image.tag_v2}  # of the page that is read
        refuse(path, tiff.ids_problem(tags) or tiff.band_problem(tags))
    if image.mode in _COLOURS and bits_of(image, path) > 8:
        raise ValueError(f"{path}: colours of {bits_of(image, path)} bits are no mask; save it in 8 bits")


def _is_lossless_webp(path):
    """Tell whether the picture of a WebP stands in a chunk of the lossless kind."""
    with path.open("rb") as file:
        file.seek(12)  # behind "RIFF", the size and "WEBP"
        while len(head := file.read(8)) == 8:
            if head[:4] in (b"VP8 ", b"VP8L"):
                return head[:4] == b"VP8L"
            size = int.from_bytes(head[4:], "little")
            file.seek(size + size % 2, 1)
    return False


def _ids_of(image):
    """Return the image whose numbers are the ids; of a GIF with grey colours those of its palette."""
    if image.format == "GIF" and image.mode == "P":
        red, green, blue = image.convert("RGB").split()
        if red.tobytes() == green.tobytes() == blue.tobytes():
            return red
    return image


def _colors_of(image):
    """Return the image with the colours of its palette."""
    if image.mode in ("P", "1"):
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("RGBA") if image.mode == "PA" else image


def _without_alpha(pixels, path):
    """Return grey `(H, W)` or colours `(H, W, 3)`; alpha may go where nothing lies beneath it."""
    if pixels.ndim == 2 or pixels.shape[-1] == 3:
        return pixels
    alpha, pixels = pixels[..., -1], pixels[..., :-1]
    if alpha.min() != alpha.max() and pixels[alpha != alpha.max()].any():
        raise ValueError(f"{path}: has ids in transparent pixels; save it without alpha")
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def _ids(pixels, path, colors):
    """Return the ids `(H, W)` int32 of integers `(H, W)` or `(H, W, 3)`."""
    if colors is not None:
        if pixels.dtype != "uint8":
            raise ValueError(
                f"{path}: a mask of colours has 8 bits, this is {pixels.dtype}; leave out colors="
            )
        return colors.ids_of(pixels if pixels.ndim == 3 else np.stack([pixels] * 3, -1), path)
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise ValueError(f"{path}: {colors_problem(pixels)}")
        pixels = pixels[..., 0]
    return integer_ids(pixels, path)
