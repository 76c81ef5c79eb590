"""Masks beyond memory as tiled TIFFs: written as they come, then brought into tiles."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kseg.inference.windows import Region
from kseg.results.masks import mask_palette

_TILE = 512  # pixels of a side


@contextlib.contextmanager
def tiled_writer(path: Path, size: tuple[int, int], dtype: str, *, colors: bool = True) -> Iterator:
    """Yield a function `(region, values (h, w))` that writes into a tiled TIFF.

    Parts may come in any order; until all are there they lie as plain numbers in a file beside it.

    Args:
        path: of the file, which exists when the block ends.
        size: `(H, W)` in pixels.
        dtype: of the values.
        colors: whether the values are ids, which have colours.

    Raises:
        ImportError: without tifffile.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            f"{path.name}: is written by tifffile, which is missing: pip install 'kseg[bands]'"
        ) from error
    plain = numbers_of(path)
    item = np.dtype(dtype).itemsize
    try:
        with plain.open("w+b") as file:
            file.truncate(size[0] * size[1] * item)

            def write(region: Region, values: np.ndarray) -> None:
                rows, columns = region
                for row, line in zip(range(rows.start, rows.stop), values.astype(dtype), strict=True):
                    file.seek((row * size[1] + columns.start) * item)
                    file.write(line.tobytes())

            yield write
            options = (
                {"photometric": "palette", "colormap": _colormap()} if colors and dtype == "uint8" else {}
            )
            tifffile.imwrite(
                path,
                _tiles(file, size, dtype),
                shape=size,
                dtype=dtype,
                tile=(_TILE, _TILE),
                compression="zlib",
                compressionargs={"level": 1},  # half the time, and masks stay small
                bigtiff=size[0] * size[1] * item > 2**31,
                **options,
            )
    finally:
        plain.unlink(missing_ok=True)


def numbers_of(path: Path) -> Path:
    """Return where the plain numbers of a mask lie until it is whole."""
    return path.with_suffix(".numbers")


def _colormap():
    """Return the colours as TIFF holds them, uint16 `(3, 256)`."""
    return (mask_palette().T.astype("uint16") * 257).astype("uint16")


def _tiles(file, size, dtype):
    """Yield the tiles, from left to right and from top to bottom, of the rows in a file."""
    for top in range(0, size[0], _TILE):
        rows = min(_TILE, size[0] - top)
        file.seek(top * size[1] * np.dtype(dtype).itemsize)
        strip = np.frombuffer(file.read(rows * size[1] * np.dtype(dtype).itemsize), dtype).reshape(rows, -1)
        for left in range(0, size[1], _TILE):
            tile = strip[:, left : left + _TILE]
            yield np.pad(tile, [(0, _TILE - side) for side in tile.shape])
