"""Masks of colours: which colour is which class."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TypeAlias

import numpy as np

from kseg.disk import check_regular
from kseg.types import PathLike

Colors: TypeAlias = Mapping[str, Sequence[int] | Sequence[Sequence[int]]] | PathLike | None

VOID = 255  # the id of void colours, as if it stood in the file
_VOID_NAMES = ("ignore", "ignored", "unlabeled", "unlabelled", "void")
_UNKNOWN = -1
_SHOWN = 5


@dataclass(frozen=True)
class MaskColors:
    """What the colours of masks mean.

    Attributes:
        names: list of str, one per class.
        ids: dict, `(r, g, b)` → number of a class, or `VOID`.
    """

    names: list[str]
    ids: dict[tuple[int, int, int], int]

    def ids_of(self, pixels: np.ndarray, path: PathLike) -> np.ndarray:
        """Return the ids `(H, W)` int32 of a mask of colours `(H, W, 3)` uint8.

        Raises:
            ValueError: for colours that are no class; it names the file, them, and a pixel of each.
        """
        codes = _codes(pixels)
        ids = self._table[codes].astype("int32")
        unknown = codes[ids == _UNKNOWN]
        if unknown.size:
            found, counts = np.unique(unknown, return_counts=True)
            parts = []
            for code in found[np.argsort(-counts)][:_SHOWN]:
                y, x = np.argwhere(codes == code)[0]
                parts.append(f"{_named(code)} in {counts[found == code][0]} pixels, as at x={x}, y={y}")
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ValueError(
                f"{path}: {len(found)} colours are none of colors=: {'; '.join(parts)}{more}; "
                f"{_mend(len(found), 'name them in colors=')}"
            )
        return ids

    @cached_property
    def _table(self):
        table = np.full(2**24, _UNKNOWN, "int16")
        for color, id in self.ids.items():
            table[_codes(np.array(color, "uint8"))] = id
        return table


def colors_problem(pixels: np.ndarray) -> str:
    """Return what is wrong with a mask of colours `(H, W, 3)` where nothing tells what they mean."""
    found, counts = np.unique(_codes(pixels), return_counts=True)
    shown = ", ".join(_named(code) for code in found[np.argsort(-counts)][:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    mend = _mend(
        len(found), "tell what they mean by colors=, a file of names and colours, or in Python a dict"
    )
    return f"is a mask of {len(found)} colours, {shown}{more}; {mend}"


def _mend(count, mend):
    return mend if count <= 256 else "so many are no classes: is it a picture, or was the mask interpolated?"


def _codes(pixels):
    pixels = pixels.astype("int32")
    return pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]


def _named(code):
    return f"#{code:06x} ({code >> 16}, {code >> 8 & 255}, {code & 255})"


def read_colors(colors: Colors) -> MaskColors | None:
    """Return what `colors=` says.

    A name may have several colours; "void", "unlabelled" and their like are void. Files are a CSV of names
    and colours, lines `r g b name` (`label_colors.txt` of CamVid), or lines `name:r,g,b:...` (`labelmap.txt`
    of CVAT).

    Raises:
        ValueError: for what is no colour, one that stands for two names, a file without any.
    """
    if colors is None:
        return None
    if isinstance(colors, Mapping):
        pairs = [(str(name), color) for name, value in colors.items() for color in _several(value)]
        source = "colors"
    else:
        source, pairs = str(colors), _pairs_in(Path(colors).expanduser())
    names: list[str] = []
    ids: dict[tuple[int, int, int], int] = {}
    for name, color in pairs:
        if not _is_color(color):
            raise ValueError(f"{source}: a colour is (r, g, b) of ints within 0..255, {name!r} has {color!r}")
        is_void = name.lower() in _VOID_NAMES
        if not is_void and name not in names:
            names.append(name)
        key = (int(color[0]), int(color[1]), int(color[2]))
        id = VOID if is_void else names.index(name)
        if ids.setdefault(key, id) != id:
            raise ValueError(f"{source}: {key} stands for {name!r} and for another name; give each its own")
    if not 0 < len(names) <= VOID:
        raise ValueError(f"{source}: expected 1 to {VOID} names with their colours, found {len(names)}")
    return MaskColors(names, ids)


def _several(value):
    """Return the colours of a name as a list: one, or several."""
    value = (
        list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
    )
    return value if value and isinstance(value[0], Sequence | np.ndarray) else [value]


def _is_color(color):
    return (
        isinstance(color, Sequence | np.ndarray)
        and not isinstance(color, str)
        and len(color) == 3
        and all(isinstance(v, Integral) and not isinstance(v, bool) and int(v) in range(256) for v in color)
    )


def _pairs_in(path):
    """Return `[(name, (r, g, b)), ...]` of a file."""
    check_regular(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; colors= names a file of names and colours") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, {error}; save it as UTF-8") from error
    pairs, first = [], True
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or re.match(r"\s*#(?![0-9a-fA-F]{6}\b)", line):
            continue
        pair = _pair_in(line)
        if pair is None and not first:
            raise ValueError(
                f"{path}: line {number} is no name with a colour: {line.strip()[:60]!r}; write `name,r,g,b`"
            )
        pairs += [pair] if pair else []
        first = False  # a table begins with the names of its columns
    return pairs


def _pair_in(line):
    """Return `(name, (r, g, b))` of a line, or `None`."""
    if found := re.fullmatch(r"\s*(\d+)[\s,]+(\d+)[\s,]+(\d+)[\s,]+(\S.*?)\s*", line):
        return found[4], (int(found[1]), int(found[2]), int(found[3]))
    if found := re.fullmatch(r"\s*([^:]*[^:\s])\s*:\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*(:.*)?", line):
        return found[1], (int(found[2]), int(found[3]), int(found[4]))
    (row,) = csv.reader([line], skipinitialspace=True)
    cells = [cell.strip() for cell in row if cell.strip()]
    if len(cells) == 2 and (found := re.fullmatch(r"#([0-9a-fA-F]{6})", cells[1])):
        return cells[0], tuple(bytes.fromhex(found[1]))
    if len(cells) == 4 and all(cell.isdecimal() for cell in cells[1:]):
        return cells[0], (int(cells[1]), int(cells[2]), int(cells[3]))
    return None
