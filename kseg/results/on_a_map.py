"""Pictures that have a place on the earth, or are beyond memory: read and written by windows, as TIFFs."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from kseg import visualization
from kseg.data.file_errors import first_line
from kseg.data.headers import MAX_PIXELS, image_header
from kseg.disk import whole_file
from kseg.inference.inputs import on_disk, range_asked_of
from kseg.results.geo import GeoPicture, geo_writer, is_georeferenced
from kseg.results.jobs import Job
from kseg.results.kinds import confidence_picture, names_for, save_picture, write_results
from kseg.results.tiled import tiled_writer

_PREVIEW = 2048  # pixels of the longer side of an overlay
_IN_PARTS = ("mask", "confidence", "overlay")


def run_on_a_map(job: Job, settings: Any) -> None:
    """Segment a picture by windows and write its files, each whole or not at all.

    Args:
        job: with its targets.
        settings: `kseg.results.running.Settings`.

    Raises:
        ValueError: if it cannot be read, or if it is beyond memory and what is asked for needs all of it.
    """
    predictor, path = settings.predictor, job.path
    with contextlib.ExitStack() as stack:
        with range_asked_of(predictor.runner):
            header = image_header(path, deep=predictor.runner.value_range is not None, windows=True)
            if is_georeferenced(path):
                runner = predictor.runner
                picture: Any = stack.enter_context(GeoPicture(path, runner.channels, runner.value_range))
            else:
                picture = on_disk(path, header.size, predictor.runner)
        run = _run_at_once if math.prod(picture.shape[:2]) <= MAX_PIXELS else _run_in_parts
        try:
            run(picture, job, settings)
        except Exception as error:
            if type(error).__module__.startswith("rasterio"):  # GDAL's errors have no common type of Python's
                raise ValueError(f"{path}: GDAL cannot work with this file ({first_line(error)})") from error
            raise


def _run_at_once(picture, job, settings):
    """Segment a picture that fits into memory."""
    size, place = picture.shape[:2], getattr(picture, "place", None)
    whole = (slice(0, size[0]), slice(0, size[1]))
    pixels = picture[whole]
    given = settings.predictor.of_picture(pixels, settings.outputs, settings.batch_size)
    found = settings.finished(given, _nothing(picture, whole))
    others = {kind: path for kind, path in job.targets.items() if path.suffix != ".tif"}
    write_results(pixels, found, others, settings.look, place)
    for kind, path in job.targets.items():
        if kind not in others:
            values = found["classes"] if kind == "mask" else confidence_picture(_least(found["confidence"]))
            with _written(path, size, values.dtype.name, place, colors=kind == "mask") as write:
                write(whole, values)


def _run_in_parts(picture, job, settings):
    """Segment a picture beyond memory: only windows of it, and of its mask, are there at once."""
    look, size, place = settings.look, picture.shape[:2], getattr(picture, "place", None)
    more = [kind for kind in job.targets if kind not in _IN_PARTS]
    more += [name for name in ("min_region", "fill_holes") if settings.cleaning.get(name)]
    more += ["several labels per pixel"] if look.multilabel else []
    if more:
        raise ValueError(
            f"{job.path}: is beyond memory, and {more[0]} needs all of it at once; cut it into tiles"
        )
    predictor, dtype = settings.predictor, "uint8" if look.void == 255 else "uint16"
    preview = _Preview(picture) if "overlay" in job.targets else None
    outputs = sorted({"classes", *settings.outputs})
    with contextlib.ExitStack() as stack:
        write = {}
        for kind, path in job.targets.items():
            if kind != "overlay":
                kept = (dtype, True) if kind == "mask" else ("uint8", False)
                write[kind] = stack.enter_context(_written(path, size, kept[0], place, colors=kept[1]))
        read = preview or picture.__getitem__
        parts = predictor.parts(
            *(read, size, outputs, predictor.windows_on_disk(size)),
            batch_size=settings.batch_size,
            progress=settings.progress,
        )
        for region, found in parts:
            found = settings.finished(found, _nothing(picture, region))
            ids = found["classes"].astype(dtype)
            if "mask" in write:
                write["mask"](region, ids)
            if "confidence" in write:
                write["confidence"](region, confidence_picture(found["confidence"]))
            if preview:
                preview.add(region, ids)
    if preview:
        ids = preview.ids
        names = names_for(look, ids)
        save_picture(visualization.overlay(preview.pixels, ids, names), job.targets["overlay"])


def _least(confidence):
    """Return the confidence of the least sure label, where a pixel has several."""
    return confidence.min(-1) if confidence.ndim == 3 else confidence


def _nothing(picture, region):
    """Return where a region holds no data, or `None`."""
    holds_nothing = getattr(picture, "holds_nothing", None)
    return None if holds_nothing is None else holds_nothing(region)


@contextlib.contextmanager
def _written(path: Path, size, dtype, place, *, colors):
    """Yield a function that writes parts of a TIFF, which stands at its path when the block has ended."""
    with whole_file(path, "the map", needed=math.prod(size) * np.dtype(dtype).itemsize) as partial:
        writer = tiled_writer(partial, size, dtype, colors=colors)
        if place is not None:
            writer = geo_writer(partial, size, dtype, place, colors=colors)
        with writer as write:
            yield write


class _Preview:
    """Every k-th row and column of a picture and its mask, taken while its windows are read."""

    def __init__(self, picture) -> None:
        self.picture = picture
        self.step = math.ceil(max(picture.shape[:2]) / _PREVIEW)
        size = [math.ceil(side / self.step) for side in picture.shape[:2]]
        self.pixels = np.zeros((*size, picture.shape[2]), "uint8")
        self.ids = np.zeros(size, "uint16")

    def __call__(self, region):
        pixels = self.picture[region]
        where, inside = self._places(region)
        self.pixels[where] = pixels[inside]
        return pixels

    def add(self, region, ids):
        """Take the ids of a region."""
        where, inside = self._places(region)
        self.ids[where] = ids[inside]

    def _places(self, region):
        """Return the places of a region's rows and columns here, and in the region."""
        first = [math.ceil(part.start / self.step) for part in region]
        stop = [math.ceil(part.stop / self.step) for part in region]
        inside = tuple(
            slice(begin * self.step - part.start, part.stop - part.start, self.step)
            for begin, part in zip(first, region, strict=True)
        )
        return tuple(slice(begin, end) for begin, end in zip(first, stop, strict=True)), inside
