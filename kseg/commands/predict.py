"""What `kseg predict` does, and the picture of what a model predicts."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kseg import visualization
from kseg.checks import check_choice, is_count
from kseg.data.headers import image_header
from kseg.data.sampling import sample_evenly
from kseg.disk import remove_partial_files
from kseg.inference import open_model, open_predictor, range_asked_of
from kseg.inference.resizing import Resize
from kseg.inference.views import TestTimeAugmentation
from kseg.inference.windows import Blend
from kseg.metrics import Confusion
from kseg.results.geo import check_rasterio, is_georeferenced
from kseg.results.jobs import check_free, find_jobs, in_shard, places_of, with_targets
from kseg.results.kinds import KINDS, Look, save_picture
from kseg.results.record import Record, on_one_line
from kseg.results.running import Settings, run_jobs
from kseg.results.tiled import numbers_of
from kseg.types import Dataset, InputRange, PathLike, Size, StatedActivation

__all__ = ["Predicted", "comparison", "predict_files", "save_picture"]

_OF_IDS = {"mask", "overlay", "contours"}  # what needs no probabilities


def comparison(
    model_or_path: keras.Model | PathLike,
    dataset: Dataset,
    class_names: Sequence[str],
    count: int = 4,
    zoom: int = 1,
) -> np.ndarray:
    """Return rows image | truth | prediction of `count` pictures spread over a dataset, with mean IoU."""
    runner, pairs = open_model(model_or_path), sample_evenly(dataset, count)
    masks = [runner.masks(image[None])[0] for image, _ in pairs]
    captions = []
    for (_, truth), mask in zip(pairs, masks, strict=True):
        counts = Confusion(max(len(class_names), 2))
        counts.add(truth, mask)
        known = counts.iou[np.isfinite(counts.iou)]
        captions.append(f"mean IoU {known.mean():.3f}" if known.size else "void alone")
    return visualization.comparison(pairs, masks, class_names, zoom, captions=captions)


@dataclass(frozen=True)
class Predicted:
    """What became of pictures.

    Attributes:
        done: number of those that were segmented.
        skipped: number of those that were finished before.
        failed: number of those that could not be segmented.
        failed_list: file that names these and says why, `None` where there is none.
    """

    done: int
    skipped: int = 0
    failed: int = 0
    failed_list: Path | None = None


def predict_files(
    model: PathLike | Sequence[PathLike],
    images: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | dict = False,
    save: Sequence[str] | None = None,
    output_kind: str = "classes",
    min_region: int = 0,
    fill_holes: int = 0,
    min_confidence: float = 0.0,
    batch_size: int | None = None,
    shard: tuple[int, int] = (1, 1),
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Predicted:
    """Segment picture files into `output`: `NAME.png` with class ids and a palette, and `NAME_overlay.png`.

    A georeferenced TIFF gives a `NAME.tif` at the same place, a picture beyond memory a tiled one; both are
    read and written by windows. Of several pictures those that are finished are skipped when the same is run
    again, and what cannot be read is listed in `failed.txt` while the others go on.

    Args:
        model: path of a `.keras`, `.tflite` or `.onnx` file or a SavedModel folder, or several to average.
        images: paths of pictures, folders, globs, `.txt` lists and videos. Results of a folder keep the names
            of its folders; those of the frames of a video lie in a folder, and its overlays are a video.
        output: folder, made where it is missing.
        class_names: `None` or names for the legend.
        window, overlap, blend, tta, crf: as for `kseg.predict`.
        save: which files: `"mask"`, `"overlay"`, `"contours"`, `"probabilities"` (`NAME.npy` float32),
            `"probabilities16"` (float16), `"confidence"` (grey, white is 1), `"polygons"` (GeoJSON, by
            rasterio). `None`: mask and overlay. Masks of several labels are `NAME.npy`.
        output_kind: `"probabilities"` is short for these and the overlay.
        min_region, fill_holes, min_confidence: as for `kseg.results.regions.cleaned`; one class per pixel.
        batch_size, activation, input_range, multilabel, resize: as for `kseg.predict`.
        shard: `(I, N)`, the I-th of N parts, by a hash of the names of the pictures, for several machines.
        overwrite: replace results that exist.
        progress: `None` or a function `(done, total)`.

    Raises:
        FileExistsError: if there are results of something else and `overwrite` is false; nothing is then
            written.
        FileNotFoundError, ValueError: if there are no pictures, if one that is named cannot be read, or two
            would write the same file.
    """
    how: dict[str, Any] = {
        "window": window,
        "overlap": overlap,
        "blend": blend,
        "tta": tta,
        "crf": crf,
        "resize": resize,
    }
    how |= {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    cleaning = {"min_region": min_region, "fill_holes": fill_holes, "min_confidence": min_confidence}
    models = [model] if isinstance(model, str | os.PathLike) else list(model)
    images = images if isinstance(images, str | os.PathLike) else list(images)
    output, kinds = Path(output), _checked_kinds(save, output_kind)
    found = find_jobs(images, output)
    jobs = in_shard(with_targets(found, kinds, bool(multilabel)), _checked_shard(shard))
    _check_named(jobs, deep=True)
    named: dict[str, Any] = {"save": kinds, "class_names": list(class_names or [])}
    named["images"] = places_of(images)
    record = _record(found, output, models, {**how, **cleaning, **named}, shard)
    goes_on = record is not None and record.goes_on and not overwrite
    of_others = record is not None and record.path.exists()
    if not goes_on:
        check_free(jobs, overwrite, of_others)
    predictor = open_predictor(models, **how, scores=bool(set(kinds) - _OF_IDS) or min_confidence > 0)
    with range_asked_of(predictor.runner):
        _check_named(jobs, deep=predictor.runner.value_range is not None)
    jobs = with_targets(jobs, kinds, predictor.runner.multilabel)
    if not goes_on:
        check_free(jobs, overwrite, of_others)
    settings = Settings(predictor, _look(predictor, class_names), kinds, cleaning, batch_size)
    return _run(jobs, settings, record, progress, goes_on)


def _record(found, output, models, options, shard):
    """Return the record of a folder of results, `None` for one picture that was named."""
    several = len(found) > 1 or not found[0].named
    return Record(output, models, options, shard) if several else None


def _look(predictor, class_names):
    """Return the names of classes, numbered where none are given, and the id of what is none."""
    count = predictor.num_classes or len(class_names or [])
    names = list(class_names or [f"class {number}" for number in range(count)])
    return Look(names, predictor.runner.multilabel, 255 if count <= 255 else 65535)


def _run(jobs, settings, record, progress, goes_on):
    """Run the jobs that are not finished."""
    if record is not None and not goes_on:
        record.begin()
    targets = [target for job in jobs for target in job.targets.values()]
    remove_partial_files([*targets, *(numbers_of(target) for target in targets if target.suffix == ".tif")])
    left = [job for job in jobs if record is None or not record.is_finished(job)]
    if len(left) == 1 and left[0].on_a_map:
        settings = replace(settings, progress=progress)
    finished = 0

    def tell():
        nonlocal finished
        finished += 1
        if progress and settings.progress is None:
            progress(finished, len(left))

    def done(job):
        for target in job.targets.values():
            print(on_one_line(target))
        tell()

    def failed(job, error):
        record.add_failure(job, str(error))
        tell()

    run_jobs(left, settings, done, None if record is None else failed)
    if record is None:
        return Predicted(len(left))
    record.end()
    count = len(record.failed)
    return Predicted(len(left) - count, len(jobs) - len(left), count, record.list if count else None)


def _checked_kinds(save, output_kind):
    check_choice("output_kind", output_kind, ("classes", "probabilities"))
    if save is None:
        return ["mask", "overlay"] if output_kind == "classes" else ["probabilities", "overlay"]
    kinds = [save] if isinstance(save, str) else list(dict.fromkeys(save))
    for kind in kinds:
        check_choice("save", kind, KINDS)
    if not kinds or {"probabilities", "probabilities16"} <= set(kinds):
        raise ValueError(f"save must name files, one kind of probabilities at most, got {save!r}")
    return kinds


def _checked_shard(shard):
    numbers = tuple(shard) if isinstance(shard, tuple | list) else ()
    if len(numbers) != 2 or not all(map(is_count, numbers)) or numbers[0] > numbers[1]:
        raise ValueError(f"shard must be (I, N), the I-th of N parts, from 1, got {shard!r}")
    return numbers


def _check_named(jobs, deep):
    """Raise where a picture that was named by itself cannot be read: nothing is then begun."""
    for job in jobs:
        if job.named and not job.is_video:
            image_header(job.path, deep=deep, windows=True)
            if is_georeferenced(job.path):
                check_rasterio(job.path)
        elif job.named and not job.path.is_file():
            raise FileNotFoundError(f"{job.path}: no such file")
