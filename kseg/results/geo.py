"""Pictures with a place on the earth: GeoTIFF read and written window by window, by rasterio."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data.crops import OnDisk
from kseg.data.file_errors import first_line
from kseg.data.headers import image_header
from kseg.data.reading import brought_to, read_image
from kseg.data.tiff import BITS, PHOTOMETRIC, first, tiff_tags
from kseg.inference.windows import Region
from kseg.results.masks import mask_palette
from kseg.types import PathLike
from kseg.value_range import ValueRange

_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, keys
_TILE = 512  # pixels of a side
_WHITE_IS_ZERO, _PALETTE, _CMYK = 0, 3, 5  # colour models


@dataclass(frozen=True)
class Place:
    """Where a picture lies.

    Attributes:
        crs: of rasterio, `None` where the file has none.
        transform: affine, pixels → coordinates.
        gcps: `(points, crs)` of ground control points.
        has_nodata: whether some pixels hold nothing.
    """

    crs: Any
    transform: Any
    gcps: Any = ((), None)
    has_nodata: bool = False


def is_georeferenced(path: PathLike) -> bool:
    """Tell whether a file is a TIFF that says where it lies."""
    path = Path(path)
    tags = tiff_tags(path) if path.suffix.lower() in (".tif", ".tiff") and path.is_file() else None
    return tags is not None and any(tag in tags for tag in _GEO_TAGS)


def check_rasterio(path: PathLike) -> None:
    """Raise `ImportError` where a georeferenced picture cannot keep its place."""
    try:
        import rasterio  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{path}: is georeferenced; rasterio, which keeps its place, is missing: pip install 'kseg[geo]'"
        ) from error


class GeoPicture:
    """A georeferenced picture on disk, of which windows are read; use it in a `with` statement.

    Args:
        path: the file.
        channels, value_range: as for `kseg.data.reading.read_image`.

    Attributes:
        shape: `(H, W, channels)`.
        place: where it lies.
    """

    def __init__(self, path: PathLike, channels: int, value_range: ValueRange | None = None) -> None:
        import rasterio

        self.path, self.channels, self.value_range = path, channels, value_range
        try:
            self._file = rasterio.open(path)
            self._masks = rasterio.open(path)  # a handle is used by one thread at a time
        except rasterio.errors.RasterioIOError as error:
            raise ValueError(f"{path}: rasterio cannot read this file ({first_line(error)})") from error
        self.shape = (self._file.height, self._file.width, channels)
        flags = {flag for each in self._file.mask_flag_enums for flag in each}
        has_nodata = bool(flags - {rasterio.enums.MaskFlags.all_valid})
        self.place = Place(self._file.crs, self._file.transform, self._file.gcps, has_nodata)
        self._alpha = rasterio.enums.ColorInterp.alpha in self._file.colorinterp[-1:]
        self._other: Any = None if self._is_plain() else self._by_its_header()

    def __enter__(self) -> GeoPicture:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._masks.close()

    def _is_plain(self):
        """Tell whether the numbers of the file are values as wanted: no palette, no few bits, black is 0."""
        tags = tiff_tags(Path(self.path)) or {}
        turned = first(tags, PHOTOMETRIC, 1) in (_WHITE_IS_ZERO, _PALETTE, _CMYK) or first(tags, BITS, 8) < 8
        deep = self._file.dtypes[0] != "uint8" and self.value_range is None
        return not turned and not deep

    def _by_its_header(self):
        """Return the pixels as any other file of this kind is read."""
        size = self.shape[:2]
        if image_header(self.path, deep=True, windows=True).is_large:
            return OnDisk(partial(self._window, self.path), self.shape, np.dtype("uint8"))
        pixels = read_image(self.path, self.channels, self.value_range)
        if pixels.shape[:2] != size:
            raise ValueError(f"{self.path}: is turned by its EXIF orientation, and has a place; turn it back")
        return pixels

    def _window(self, path, region):
        return read_image(path, self.channels, self.value_range, None, region)

    def __getitem__(self, region: Region) -> np.ndarray:
        if self._other is not None:
            return self._other[region]
        numbers = np.moveaxis(self._read(self._file.read, region), 0, -1)
        numbers = brought_to(numbers, self._alpha, self.channels, self.path)
        if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
            empty = self._read(self._file.dataset_mask, region) == 0
            if not (np.isfinite(numbers).all(-1) | empty).all():
                raise ValueError(f"{self.path}: holds numbers that are NaN or infinite; fill them")
            numbers = np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
        return numbers if self.value_range is None else self.value_range.to_pixels(numbers)

    def holds_nothing(self, region: Region) -> np.ndarray | None:
        """Return where a region holds no data, bool `(h, w)`; `None` where all of it does."""
        if not self.place.has_nodata:
            return None
        return self._read(self._masks.dataset_mask, region) == 0

    def _read(self, read, region):
        import rasterio
        from rasterio.windows import Window

        rows, columns = region
        window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        try:
            return read(window=window)
        except rasterio.errors.RasterioIOError as error:
            raise ValueError(
                f"{self.path}: the file is cut short or damaged ({first_line(error)}); restore or remove it"
            ) from error


@contextlib.contextmanager
def geo_writer(
    path: Path, size: tuple[int, int], dtype: str, place: Place, *, colors: bool = True
) -> Iterator:
    """Yield a function `(region, values (h, w))` that writes into a tiled GeoTIFF at the same place.

    Args:
        path: of the file, which exists when the block ends.
        size: `(H, W)` in pixels.
        dtype: of the values.
        place: of the picture.
        colors: whether the values are ids, which have colours; 255, or 65535, then stands for no data.
    """
    import rasterio
    from rasterio.windows import Window

    void = int(np.iinfo(dtype).max)
    options = {"driver": "GTiff", "height": size[0], "width": size[1], "count": 1, "dtype": dtype}
    options |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "compress": "deflate", "zlevel": 1}
    options |= {"BIGTIFF": "IF_SAFER", "nodata": void if colors else None}
    points, points_crs = place.gcps
    where = (
        {"gcps": points, "crs": points_crs} if points else {"crs": place.crs, "transform": place.transform}
    )
    with rasterio.open(path, "w", **options, **where) as file:
        if colors and dtype == "uint8":
            file.write_colormap(
                1, {number: (*color, 255) for number, color in enumerate(mask_palette().tolist())}
            )

        def write(region: Region, values: np.ndarray) -> None:
            rows, columns = region
            window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            file.write(np.ascontiguousarray(values).astype(dtype), 1, window=window)

        yield write
