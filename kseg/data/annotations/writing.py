"""The folders that a conversion writes: all of them, or nothing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from kseg.data import headers
from kseg.data.annotations.objects import AnnotatedPicture
from kseg.data.name_files import read_class_names
from kseg.disk import sync, sync_names, temporary_folder


def check_free(output: Path, splits: Sequence[str], class_names: Sequence[str]) -> None:
    """Raise where a conversion would write over what is there, or beside masks of other classes.

    Raises:
        FileExistsError: for a split that is there already, or a file at the path.
        ValueError: for other classes in its `classes.txt`.
    """
    if output.exists() and not output.is_dir():
        raise FileExistsError(f"{output}: is a file; choose another folder")
    taken = [name for name in (*splits, "images", "masks") if (output / name).exists()]
    if taken:
        raise FileExistsError(f"{output / taken[0]}: is there already; choose another folder, or remove it")
    names = output / "classes.txt"
    if names.exists() and read_class_names(names) != list(class_names):
        raise ValueError(
            f"{names}: lists other classes ({', '.join(read_class_names(names))}) than the annotations "
            f"({', '.join(class_names)}); give class_names=, the same for all splits"
        )


def output_stems(pictures: Sequence[AnnotatedPicture]) -> list[str]:
    """Return the names, without suffix, that pictures get: their own, with the folders before where needed.

    Raises:
        ValueError: if two pictures of a split end with one name.
    """
    parts = [picture.name.replace("\\", "/").split("/") for picture in pictures]
    plain = [Path(each[-1]).stem for each in parts]
    full = ["__".join(part for part in each[:-1] if part not in ("", ".", "..")) for each in parts]
    full = ["__".join(filter(None, pair)).replace(":", "_") for pair in zip(full, plain, strict=True)]
    suffixed = [f"{stem}_{Path(each[-1]).suffix[1:].lower()}" for stem, each in zip(full, parts, strict=True)]
    keys = [picture.split for picture in pictures]
    chosen = list(plain)
    for better in (full, suffixed):
        seen: dict[tuple[str, str], int] = {}
        for key in zip(keys, map(str.lower, chosen), strict=True):  # some disks take a and A for one name
            seen[key] = seen.get(key, 0) + 1
        chosen = [
            other if seen[split, stem.lower()] > 1 else stem
            for split, stem, other in zip(keys, chosen, better, strict=True)
        ]
    last: dict[tuple[str, str], str] = {}
    for picture, stem in zip(pictures, chosen, strict=True):
        before = last.setdefault((picture.split, stem.lower()), picture.source)
        if before != picture.source or not stem.strip("."):
            raise ValueError(f"{picture.source}: has the same name as {before}; rename one of them")
    return chosen


@contextlib.contextmanager
def workplace(output: Path, dry_run: bool) -> Iterator[Path]:
    """Yield an empty folder: beside `output`, or somewhere else where nothing is to be written."""
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    with temporary_folder(output) as folder:
        yield folder


def place_picture(picture: AnnotatedPicture, stem: str, folder: Path) -> Path:
    """Write a picture byte for byte, under its stem; return where it is."""
    name = picture.path.name if picture.path is not None else picture.name.replace("\\", "/").split("/")[-1]
    suffix = Path(name).suffix if Path(name).suffix.lower() in headers.SUFFIXES else ".png"
    target = folder / picture.split / "images" / f"{stem}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if picture.path is None:
        target.write_bytes(picture.content or b"")
    else:
        shutil.copyfile(picture.path, target)
    return target


def place_mask(mask: np.ndarray, split: str, stem: str, folder: Path) -> None:
    """Write a mask as PNG."""
    target = folder / split / "masks" / f"{stem}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(target, format="PNG")


def put_in_place(folder: Path, output: Path, splits: Sequence[str], class_names: Sequence[str]) -> None:
    """Rename the finished splits into `output`; if one cannot be, those before are taken back.

    Raises:
        FileExistsError: if something came to stand there meanwhile.
    """
    names = folder / "classes.txt"
    names.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    sync(folder)
    check_free(output, splits, class_names)
    made = not output.exists()
    output.mkdir(exist_ok=True)
    done = []
    try:
        for split in splits:
            (folder / split).rename(output / split)
            done.append(split)
        if not (output / "classes.txt").exists():
            names.rename(output / "classes.txt")
    except OSError:
        for split in done:
            (output / split).rename(folder / split)
        if made:
            output.rmdir()
        raise
    sync_names(output)
