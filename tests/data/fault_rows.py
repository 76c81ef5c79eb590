"""What the tables of faults share: small folders, a row of a table, and what kseg says of a row."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kseg

SIZE = (12, 16)


@dataclass(frozen=True)
class Row:
    """One fault of a folder.

    Attributes:
        id: of the row.
        make: makes it in a folder; returns the path that the user gives where it is another.
        problem: words that the check and the reader both say, in one line that begins with a path.
        check: words of one line that the check alone says, among its problems, warnings and notes.
        reads: tells whether what is read, a list of `(picture, mask)`, is right.
        options: of both.
    """

    id: str
    make: Callable[[Path], Any]
    problem: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    reads: Callable[[list], bool] | None = None
    options: dict = field(default_factory=dict)


def picture(path: Path, size: tuple = SIZE, **options: Any) -> None:
    """Write a picture whose pixels its name tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(os.fsencode(path.stem)))
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype="uint8")).save(path, **options)


def mask(path: Path, ids: tuple = (0, 1), size: tuple = SIZE) -> None:
    """Write a mask that holds all of the ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.resize(np.array(ids, "uint8"), size)).save(path)


def sound(root: Path, stems: str = "ab", split: str = "train", ids: tuple = (0, 1)) -> Path:
    """Write pairs, and return the folder of the split."""
    for stem in stems:
        picture(root / split / "images" / f"{stem}.png")
        mask(root / split / "masks" / f"{stem}.png", ids)
    return root / split


def digest(folder: Path) -> dict[bytes, tuple]:
    """Return of every file, folder and link its bytes, or where it points, and its time."""
    found = {}
    for top, inner, files in os.walk(os.fsencode(folder)):
        for name in (*inner, *files):
            path = os.path.join(top, name)  # noqa: PTH118 - names of any bytes
            is_link, is_file = os.path.islink(path), os.path.isfile(path)  # noqa: PTH113, PTH114
            content = os.readlink(path) if is_link else b""  # noqa: PTH115
            if is_file and not is_link:
                content = hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).digest()
            found[path] = content, os.lstat(path).st_mtime_ns
    return found


def checked(path: Path, options: dict) -> tuple[list[str], list[str]]:
    """Return what the check finds: problems, of which its error is one, and warnings and notes."""
    try:
        report = kseg.data.check(path, **options)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)], []
    str(report).encode()  # what cannot be printed helps nobody
    return report.problems, report.warnings + report.notes


def read(path: Path, options: dict) -> list:
    """Return all pairs."""
    data = kseg.data.from_directory(path, batch_size=None, shuffle=False, **options)
    return list(data.as_numpy_iterator())


def holds(line: str, words: tuple[str, ...]) -> bool:
    """Tell whether a line has all of the words."""
    return all(word in line for word in words)


def try_row(row: Row, folder: Path) -> None:
    """Assert that a row is met, and that nothing of the user's has changed."""
    root = folder / "data"
    root.mkdir()
    path = row.make(root) or root
    before = digest(folder)
    problems, told = checked(path, row.options)
    if row.problem:
        found = [line for line in problems if holds(line, row.problem)]
        assert found, problems
        assert all(line.startswith(str(folder)) and "\n" not in line for line in found)
        with pytest.raises(Exception, match=r"(?s).*") as caught:
            read(path, row.options)
        assert holds(str(caught.value), (str(folder), *row.problem)), caught.value
    else:
        assert [line for line in problems if not row.check or not holds(line, row.check)] == []
    if row.check:
        assert any(holds(line, row.check) for line in problems + told), (problems, told)
    if row.reads is not None:
        assert row.reads(read(path, row.options))
    assert digest(folder) == before
