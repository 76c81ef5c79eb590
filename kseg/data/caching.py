"""Decoded pairs, kept in memory or in a folder for as long as their files stay as they are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import warnings
import zlib
from collections.abc import Callable, Sequence
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data.class_masks import MaskPath
from kseg.disk import stamp
from kseg.types import PathLike

Pair = tuple[np.ndarray, np.ndarray]
_SHARE = 0.8  # of the free memory that a cache may take
_VERSION = 1


def check_cache(cache: PathLike | None, needed: int) -> None:
    """Raise `ValueError` unless it is `None`, "memory" with room for so many bytes, or a folder; make that.

    Args:
        cache: as for `kseg.data.from_directory`.
        needed: bytes of all decoded pairs.
    """
    if cache is None:
        return
    if not isinstance(cache, str | os.PathLike) or not fspath(cache):
        raise ValueError(f"cache must be None, 'memory' or the path of a folder, got {cache!r}")
    if cache == "memory":
        free = _free_memory()
        if needed > _SHARE * free:
            raise ValueError(
                f"cache='memory' would take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; give "
                "the path of a folder, or files of the size that is trained on"
            )
    else:
        folder = Path(cache).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"cache={cache!r} is no folder and cannot be made one ({error.strerror})"
            ) from error


def _free_memory():
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


class CachedReader:
    """A reader of pairs by number that keeps what it gave.

    A pair is kept under the stamps of its files (number, size, time), which are asked before each use: what
    is written anew is read anew. In a folder it is kept under what reads it as well, so that several data
    sets may share one, and a check sum, so that a damaged file is read anew.

    Args:
        read: number of a pair → picture and ids.
        images, masks: their files.
        cache: "memory", or a folder that is there.
        reading: all that says what a file becomes: options and labels.
    """

    def __init__(
        self,
        read: Callable[[int], Pair],
        images: Sequence[PathLike],
        masks: Sequence[MaskPath],
        cache: PathLike,
        reading: Any,
    ) -> None:
        self.read, self.images, self.masks, self.reading = read, images, masks, repr(reading)
        self.folder = None if cache == "memory" else Path(cache).expanduser()
        self.kept: dict[int, tuple[Any, Pair]] = {}
        self.may_write = True

    def __call__(self, index: int) -> Pair:
        """Return picture and integer ids.

        Raises:
            ValueError: as what reads.
        """
        stamps = self._stamps(index)
        pair = self._kept(index, stamps)
        if pair is None:
            pair = self.read(index)
            if None not in stamps and self._stamps(index) == stamps:
                self._keep(index, stamps, (pair[0], _narrow(pair[1])))
        return pair

    def _stamps(self, index):
        mask = self.masks[index]
        parts = [part for part in mask if part is not None] if isinstance(mask, tuple) else [mask]
        return tuple(stamp(path) for path in (self.images[index], *parts))

    def _kept(self, index, stamps):
        if self.folder is None:
            known, pair = self.kept.get(index, (None, None))
            return pair if known == stamps else None
        return _loaded(self.folder / self._name(index, stamps))

    def _keep(self, index, stamps, pair):
        if self.folder is None:
            self.kept[index] = stamps, pair
        elif self.may_write:
            try:
                _save(self.folder / self._name(index, stamps), pair)
            except OSError as error:
                self.may_write = False
                warnings.warn(
                    f"cache: {self.folder} takes no more ({error}); the rest is read anew", stacklevel=2
                )

    def _name(self, index, stamps):
        names = [os.path.abspath(fspath(self.images[index])), str(self.masks[index])]  # noqa: PTH100
        told = repr((_VERSION, names, stamps, self.reading)).encode("utf-8", "surrogateescape")
        return f"{hashlib.sha256(told).hexdigest()[:40]}.pair"


def _narrow(ids):
    """Return ids in 8 bits where they fit."""
    fits = ids.size and ids.min() >= 0 and ids.max() <= 255
    return ids.astype("uint8") if fits else ids


def _save(path, pair):
    """Write a pair whole: two arrays and a check sum."""
    handle, partial = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for array in pair:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            file.write(_sum(pair))
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _loaded(path):
    """Return the pair in a file, `None` where it is missing or damaged."""
    try:
        with path.open("rb") as file:
            pair = tuple(np.load(file, allow_pickle=False) for _ in range(2))
            return pair if file.read() == _sum(pair) else None
    except Exception:  # of any type: what a damaged header leads to
        return None


def _sum(pair):
    value = 0
    for array in pair:
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value.to_bytes(4, "little")
