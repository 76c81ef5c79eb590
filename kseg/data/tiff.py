"""What a TIFF says of its bands and bits, which Pillow passes over or does not know."""

from pathlib import Path
from typing import Any

from PIL import Image, TiffImagePlugin

BITS, COMPRESSION, PHOTOMETRIC = 258, 259, 262
FORMAT = 339  # integers, signed integers, floats
_BANDS, _EXTRA, _KIND = 277, 338, 254
_WHITE_IS_ZERO = 0
_PLANAR = 284
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # RGB, CMYK, YCbCr, Lab; else 1
_ALPHA = (1, 2)
_LOSSY = {6: "JPEG", 7: "JPEG", 34712: "JPEG 2000", 34892: "JPEG", 50001: "WebP", 50002: "JPEG XL"}
_OF_PILLOW = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)  # compressions
_KINDS = {1: "integers", 2: "signed integers", 3: "floats"}


def tiff_tags(path: Path) -> dict[int, Any] | None:
    """Return the tags of the first picture, `None` where the file is no TIFF or its tags cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
                return None
            if b"+" in head[2:4]:  # the offsets of a BigTIFF have 64 bits
                head += file.read(8)
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
            return dict(tags)
    except Exception:  # of any type: Pillow's parser raises what it stumbles on
        return None


def first(tags: dict[int, Any], tag: int, default: int) -> int:
    """Return the value of a tag, of several the first."""
    value = tags.get(tag, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default


def band_problem(tags: dict[int, Any]) -> str | None:
    """Return what is wrong with the bands of a TIFF, `None` where they are grey or colours and alpha.

    A band beside the colours is alpha where the file says so; else it is a measurement, near infrared for
    instance, that would be left out.
    """
    colours = _COLOURS.get(first(tags, PHOTOMETRIC, 1), 1)
    bands = first(tags, _BANDS, 1)
    extra = tags.get(_EXTRA, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    if bands == colours or (bands == colours + 1 and extra[:1] and extra[0] in _ALPHA):
        return None
    return (
        f"has {bands} bands, and pictures have 1 or 3 and at most an alpha channel; "
        "keep the bands that are meant, or give arrays"
    )


def sample_problem(tags: dict[int, Any]) -> str | None:
    """Return what is wrong with the samples of a TIFF, `None` where Pillow reads them right."""
    bits, kind = first(tags, BITS, 1), first(tags, FORMAT, 1)
    if kind == 2 and bits == 8:
        return "holds signed integers of 8 bits; save unsigned ones"
    if first(tags, PHOTOMETRIC, 1) == _WHITE_IS_ZERO and bits > 8:
        return f"holds {bits} bits with 0 for white; save it with 0 for black"
    return None


def white_problem(tags: dict[int, Any]) -> str | None:
    """Return what is wrong with deep numbers of which 0 is white, else `None`."""
    if first(tags, PHOTOMETRIC, 1) == _WHITE_IS_ZERO and first(tags, BITS, 1) > 8:
        return f"holds {first(tags, BITS, 1)} bits with 0 for white; save it with 0 for black"
    return None


def ids_problem(tags: dict[int, Any]) -> str | None:
    """Return why the ids of a TIFF mask cannot be trusted, or `None`."""
    lossy = _LOSSY.get(first(tags, COMPRESSION, 1))
    if lossy:
        return f"its {lossy} compression changes ids along every border; save masks as PNG"
    if first(tags, PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        return "holds 0 for white, so its ids are turned round; save masks as PNG"
    return sample_problem(tags)


def described(tags: dict[int, Any]) -> str:
    """Return what a TIFF that Pillow cannot read says of itself."""
    bands, bits, kind = first(tags, _BANDS, 1), first(tags, BITS, 1), first(tags, FORMAT, 1)
    return f"a TIFF of {bands} bands of {bits} bits, {_KINDS.get(kind, 'numbers of another kind')}"


def pages_of(image: Image.Image) -> list[int]:
    """Return the numbers of the frames of an opened file that are pictures; smaller copies do not count."""
    frames = getattr(image, "n_frames", 1)
    if frames == 1 or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return list(range(frames))
    pages = []
    for number in range(frames):
        image.seek(number)
        if is_page(image.tag_v2.get(_KIND, 0)):
            pages.append(number)
    image.seek(0)
    return pages or [0]


def is_page(kind: int) -> bool:
    """Tell whether a subfile of a TIFF is a picture: no smaller copy (bit 0), no transparency (bit 2)."""
    return not int(kind) & 5


def needs_library(tags: dict[int, Any], deep: bool) -> bool:
    """Tell whether Pillow does not know a TIFF, or would leave out bands of it or digits of its numbers.

    Args:
        tags: of `tiff_tags`.
        deep: whether numbers of more than 8 bits are asked for as they are.
    """
    bits, kind = first(tags, BITS, 1), first(tags, FORMAT, 1)
    if first(tags, _PLANAR, 1) == 2 and bits > 8:  # a plane for each band, which Pillow mixes up
        return True
    if band_problem(tags) or (kind in _KINDS and kind != 1) or bits not in (1, 2, 4, 8, 16):
        return True
    return (deep and bits > 8) or first(tags, COMPRESSION, 1) not in _OF_PILLOW


def colour_bands(bands: int, extra: tuple[int, ...]) -> int:
    """Return how many bands of a TIFF are not its alpha channel, which is the last one where it says so."""
    return bands - 1 if bands > 1 and extra and extra[-1] in _ALPHA else bands
