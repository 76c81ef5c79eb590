"""What the readers share: files of strangers read safely, pictures found, splits named."""

import contextlib
import importlib
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg.disk import check_regular

_LARGEST_COORDINATE = 1e7  # pixels; more is no place in a picture
_TEXT_BYTES = 2**20  # of a YAML of names
_WRONG: tuple[type[Exception], ...] = (
    *(KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError),
    *(OSError, SyntaxError, Image.DecompressionBombError),  # of a mask inside the file
)


def needed(module: str) -> Any:
    """Import a library of the extra.

    Raises:
        ImportError: if it is missing; it says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.split(".")[0]
        raise ImportError(f"{name} is missing: pip install 'kseg[annotations]'") from None


def read_bytes(path: Path) -> bytes:
    """Return what is in a file.

    Raises:
        FileNotFoundError, ValueError: if there is none, or something else; it names the path.
    """
    check_regular(path)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """Return the text in a file of UTF-8."""
    try:
        return read_bytes(path).decode("utf-8-sig")  # Windows begins files with a mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, {error}; save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    text = read_text(path)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: is nested too deeply for an annotation file; export it anew") from None
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error}); export it anew") from None


def read_xml(path: Path) -> Any:
    """Return the root element of an XML file; entities, which may grow without end, are refused.

    Raises:
        ValueError: it names the file.
    """
    parser, content = needed("defusedxml.ElementTree"), read_bytes(path)
    refused = needed("defusedxml.common").DefusedXmlException
    try:
        return parser.fromstring(content, forbid_dtd=False)
    except refused:
        raise ValueError(f"{path}: defines entities, which annotations do not need; export it anew") from None
    except (parser.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as XML ({error}); export it anew") from None


def read_yaml(path: Path) -> Any:
    """Return what a small YAML file holds."""
    yaml, text = needed("yaml"), read_text(path)
    if len(text) > _TEXT_BYTES:
        raise ValueError(f"{path}: has {len(text):,} characters, too many for a list of names")
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None


@contextlib.contextmanager
def collected(problems: list[str], where: str) -> Iterator[None]:
    """Turn what goes wrong in reading one entry into a line of `problems`, so that the others are read."""
    try:
        yield
    except _WRONG as error:
        missing = isinstance(error, KeyError) and error.args
        problems.append(f"{where}: {f'has no {error.args[0]!r}' if missing else error}")


def points(numbers: Any) -> np.ndarray:
    """Return x and y, `(N, 2)` float64, of a flat list of numbers or a list of pairs.

    Raises:
        ValueError: for an odd count, and for what is no place in a picture.
    """
    array = np.asarray(numbers, "float64")
    if array.size % 2 or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 2):
        raise ValueError(f"a polygon is x and y in turns, got {array.size} numbers; draw it anew")
    if not (np.abs(array) <= _LARGEST_COORDINATE).all():  # NaN is not
        raise ValueError("a polygon has points that are no numbers or far away; draw it anew")
    return array.reshape(-1, 2)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return the corners `(4, 2)` of a box."""
    return points([left, top, right, top, right, bottom, left, bottom])


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Return points `(N, 2)` on an ellipse, less than a pixel apart up to a radius of 600."""
    angles = np.linspace(0, 2 * np.pi, int(np.clip(8 * max(radius_x, radius_y, 4), 32, 4096)), endpoint=False)
    return points(np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1))


def rotated(outline: np.ndarray, degrees: float) -> np.ndarray:
    """Return an outline turned clockwise, as the screen shows it, about the middle of its bounds."""
    centre = (outline.min(0) + outline.max(0)) / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points((outline - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre)


def split_named(name: str) -> str:
    """Return a split in the words of kseg: "valid" is "val", "train2017" is "train"."""
    word = re.sub(r"[-_]?\d+$", "", name.strip().lower())
    word = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}.get(word, word)
    return word if re.fullmatch(r"\w[\w.-]*", word) else "train"


def find_picture(name: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of a picture: by the whole name in one of the folders, else by its last part."""
    name = name.replace("\\", "/")
    for tail in (name, name.rsplit("/", 1)[-1]):
        for folder in folders:
            for form in ("NFC", "NFD"):  # a Mac writes the same name in other characters
                with contextlib.suppress(OSError, ValueError):  # too long a name, a zero in it
                    path = folder / unicodedata.normalize(form, tail)
                    if tail and path.is_file():
                        return path
    return None
