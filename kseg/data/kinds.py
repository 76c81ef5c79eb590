"""Pictures that are changed when they are read, grey, alpha, CMYK, 16 bits: told once, with their count."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kseg.data.headers import bits_of, image_header, opened

if TYPE_CHECKING:
    from kseg.data.checking import Seen

_FORMATS = {"JPG": "JPEG", "TIF": "TIFF"}  # of suffixes that are another word
_SHOWN = 3
# kind → what is told of it, and whether it may not be meant
_TOLD = {
    "grey": ("are grey, read as three equal channels", False),
    "colour": ("have colours, read as grey", False),
    "alpha": ("have an alpha channel, which is left out", True),
    "CMYK": ("are CMYK, turned to RGB without a colour profile", True),
    "16 bits": ("have 16 bits, of which the upper 8 are read; value_range='dtype' keeps all", True),
    "format": ("are of another format than their names say, and read all the same", False),
}


def kinds_of(path: Path, channels: int | None, deep: bool, page: int | None = None) -> dict[str, str]:
    """Return kind → what to call the picture there.

    Args:
        path: of a picture that can be read.
        channels, page: as for `kseg.data.from_directory`.
        deep: whether all of its bits are read.
    """
    if image_header(path, page, deep).by_bands:
        return {}
    with opened(path, page) as image:
        bands, bits = image.getbands(), bits_of(image, path)
        has_alpha = "A" in bands or "transparency" in image.info
        is_grey = bands[0] in ("L", "1", "I", "I;16")
        found = "JPEG" if image.format == "MPO" else str(image.format)
        seen = {
            "grey": is_grey and channels != 1,
            "colour": not is_grey and channels == 1,
            "alpha": has_alpha and channels != 4,
            "CMYK": image.mode == "CMYK",
            "16 bits": bits == 16 and not deep,
        }
    kinds = {kind: path.name for kind, is_so in seen.items() if is_so}
    named = path.suffix[1:].upper()
    if found != _FORMATS.get(named, named):
        kinds["format"] = f"{path.name} is {found}"
    return kinds


def told_of_kinds(seen: list[Seen]) -> tuple[list[str], list[str]]:
    """Return `(warnings, notes)`: a line for each kind, with how many pictures are of it."""
    lines: tuple[list[str], list[str]] = ([], [])
    for kind, (text, is_doubtful) in _TOLD.items():
        names = [one.kinds[kind] for one in seen if kind in one.kinds]
        if names:
            more = ", ..." if len(names) > _SHOWN else ""
            line = f"{len(names)} pictures {text}: {', '.join(names[:_SHOWN])}{more}"
            lines[0 if is_doubtful else 1].append(line)
    return lines
