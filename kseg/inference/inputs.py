"""What can be segmented: an array, a file, and what holds several: a folder, a glob, a list, a video."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg.data.crops import OnDisk
from kseg.data.file_errors import DepthError
from kseg.data.headers import SUFFIXES, image_header
from kseg.data.hints import held
from kseg.data.reading import pixels_of, read_image
from kseg.inference.runner import Runner
from kseg.inference.video import frames_of, is_video
from kseg.pictures import in_pixel_range
from kseg.types import PathLike
from kseg.value_range import ValueRange

_STARS = "*?["


def is_path(images: Any) -> bool:
    """Tell whether it is a path."""
    return isinstance(images, str | os.PathLike)


def holds_several(images: Any) -> bool:
    """Tell whether it holds several pictures that are named: a folder, glob, list, video or iterable."""
    if is_path(images):
        path = Path(images)
        return path.is_dir() or (not path.exists() and has_stars(path)) or is_video(path) or is_list(path)
    return not isinstance(images, np.ndarray | Image.Image | bytes) and not hasattr(images, "__array__")


def has_stars(path: PathLike) -> bool:
    """Tell whether a path is a glob."""
    return any(star in str(path) for star in _STARS)


def is_list(path: PathLike) -> bool:
    """Tell whether a file lists pictures, one a line."""
    return Path(path).suffix.lower() in (".txt", ".lst")


def find_pictures(path: PathLike) -> dict[str, Path]:
    """Return name → path of the pictures and videos of a folder, glob or list, in the order of their names.

    Names are paths below the folder, or below the folder that all of a glob or list share.

    Raises:
        FileNotFoundError: if there is none, or if one that is listed is missing.
        ValueError: if a list is not text.
    """
    path = Path(path)
    if path.is_dir():
        found = [each for each in sorted(_files_below(path)) if is_picture(each) or is_video(each)]
        if not found:
            there = held(path)
            seen = f"it holds {there}" if there else "it is empty"
            raise FileNotFoundError(
                f"{path}: no pictures in this folder: {seen}; known: {', '.join(SUFFIXES)}"
            )
        return {each.relative_to(path).as_posix(): each for each in found}
    if path.is_file():
        found = _listed(path)
    else:
        found = [Path(each) for each in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        found = [each for each in found if each.is_file() and (is_picture(each) or is_video(each))]
        if not found:
            raise FileNotFoundError(f"{path}: no picture has a name like this")
    return named(found)


def named(paths: list[Path]) -> dict[str, Path]:
    """Return name → path: of one its name, of more their paths below the folder that all share."""
    absolute = {Path(os.path.abspath(path)): path for path in paths}  # noqa: PTH100 - links stay
    if len(absolute) == 1:
        return {path.name: path for path in absolute.values()}
    common = Path(os.path.commonpath(absolute))
    return {full.relative_to(common).as_posix(): path for full, path in absolute.items()}


def is_picture(path: Path) -> bool:
    """Tell whether a file is a picture by its name."""
    return path.suffix.lower() in SUFFIXES


def _files_below(folder):
    for root, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        yield from (Path(root) / name for name in files if not name.startswith("."))


def _listed(path):
    """Return the files that a list names, relative to its folder."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is no text; a list has a path of a picture in each line") from None
    listed = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not listed:
        raise FileNotFoundError(f"{path}: lists no pictures, one path a line")
    files = [path.parent / Path(line).expanduser() for _, line in listed]
    for (number, line), file in zip(listed, files, strict=True):
        if not file.is_file():
            raise FileNotFoundError(f"{path}: line {number} names {line}, and there is no such file")
    return files


def pictures_of(images: Any, runner: Runner) -> Iterator[tuple[str, Any]]:
    """Yield `(name, picture)` of what `holds_several`; pictures are arrays or `OnDisk`.

    Raises:
        ValueError, FileNotFoundError: as `opened_picture` and `find_pictures`.
    """
    if is_path(images):
        path = Path(images)
        found = {path.name: path} if is_video(path) and not path.is_dir() else find_pictures(path)
        for name, each in found.items():
            if is_video(each):
                yield from ((f"{name}#{number}", frame) for number, frame in frames_of(each, runner.channels))
            else:
                yield name, opened_picture(each, runner)
        return
    if not isinstance(images, Iterable):
        raise TypeError(
            "images must be an array, a Pillow image, a path, or several of them, got "
            f"{type(images).__name__}"
        )
    for number, each in enumerate(images):
        if isinstance(each, tuple):
            raise TypeError(
                "images must be pictures, got pairs; kseg.evaluate takes a data set of pictures and masks"
            )
        yield (str(each) if is_path(each) else str(number)), opened_picture(each, runner)


def opened_picture(image: Any, runner: Runner) -> Any:
    """Return a picture as an array `(H, W, C)`, or as `OnDisk` where it is too large for memory.

    It holds 0–255: files by how they are read, arrays are judged.
    """
    with range_asked_of(runner):
        if is_path(image) or (isinstance(image, Image.Image) and runner.value_range is not None):
            header = image_header(image, deep=True, windows=True) if is_path(image) else None
            if header is not None and header.is_large:
                return on_disk(image, header.size, runner)
            return as_picture(image, runner.channels, runner.value_range)
        return in_pixel_range(as_picture(image, runner.channels), runner.input_range)


def on_disk(path: PathLike, size: tuple[int, int], runner: Runner) -> OnDisk:
    """Return a picture of which only windows are read."""
    dtype = np.dtype("uint8" if runner.value_range is None else "float32")
    read = partial(read_image, path, runner.channels, runner.value_range, None)
    image_header(path, deep=runner.value_range is not None, windows=True)
    return OnDisk(read, (*size, runner.channels), dtype)


@contextlib.contextmanager
def range_asked_of(runner: Runner) -> Iterator[None]:
    """Raise that a file is too deep with the mend for a model: where data are read there is another one."""
    try:
        yield
    except DepthError as error:
        raise ValueError(
            f"{error.seen}, and {runner.name} keeps no range of its picture files; train it with one (kseg "
            f"train --value-range), or say it once: kseg.with_value_range(model, {error.ends})"
        ) from None


def as_picture(image: Any, channels: int, value_range: ValueRange | None = None) -> np.ndarray:
    """Return `(H, W, channels)` of a path, a Pillow image or an array.

    Files, opened or not, are read by `value_range`; arrays hold values 0–255.
    """
    if is_path(image):
        return read_image(image, channels, value_range)
    if isinstance(image, Image.Image):
        image = pixels_of(image, channels, value_range=value_range)
    pixels = np.asarray(image)
    if pixels.ndim == 2 and channels == 1:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] != channels or 0 in pixels.shape:
        raise ValueError(f"image must be (H, W, {channels}), got {pixels.shape}")
    return pixels
