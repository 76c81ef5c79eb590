"""Evaluations as files: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kseg.disk import write_whole
from kseg.evaluation.calibration import BINS
from kseg.evaluation.facts import versions, with_file
from kseg.evaluation.figures import CLASS_SCORES, MEANS, Evaluation
from kseg.evaluation.scores import scores_of
from kseg.types import PathLike

COLUMNS = (
    *("model", "class_id", "class", "iou", "iou_low", "iou_high", "dice", "precision", "recall"),
    *("boundary_iou", "boundary_f1", "pixels", "share", "in_truth"),
)


def write_json(
    path: PathLike,
    evaluations: Mapping[str, Evaluation],
    *,
    data_root: PathLike | None = None,
    split: str | None = None,
    command: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write evaluations as JSON, whole or not at all; what is not a number is `null`.

    Keys: `versions`; `data` with `root` and `split`; `command`; and `models`, by the name of each what
    `Evaluation.as_dict` gives, and in its `model` also `size_bytes` and `sha256` of the file.

    Args:
        path: new file.
        evaluations: dict, name of a model → `Evaluation`.
        data_root, split, command: what was evaluated, and how, or `None`.
        overwrite: replace what is at `path`.

    Raises:
        FileExistsError: if there is something at `path` and `overwrite` is false.
        OSError: if it cannot be written.
    """
    path = checked_target(path, overwrite)
    models = {}
    for name, evaluation in evaluations.items():
        found = evaluation.as_dict()
        models[name] = {**found, "model": with_file(found["model"])}
    document = {
        "versions": versions(),
        "data": {"root": None if data_root is None else str(data_root), "split": split},
        "command": command,
        "models": models,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n".encode("utf-8", "replace"), "the evaluation")


def write_csv(path: PathLike, evaluations: Mapping[str, Evaluation], *, overwrite: bool = False) -> None:
    """Write the classes of each model as CSV, a row each, whole or not at all; what is no number is empty.

    Columns: `model`, `class_id`, `class`, `iou`, `iou_low` and `iou_high` (the 95 % interval over pictures),
    `dice`, `precision`, `recall`, `boundary_iou`, `boundary_f1`, `pixels` of the truth, `share` of them, and
    `in_truth`, `yes` or `no`. A row without `class_id` has the means of a model; its `recall` is the mean
    accuracy.

    Args:
        path: new file.
        evaluations: dict, name of a model → `Evaluation`.
        overwrite: replace what is at `path`.

    Raises:
        FileExistsError, OSError: as for `write_json`.
    """
    path = checked_target(path, overwrite)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for name, evaluation in evaluations.items():
        for row in evaluation.as_dict()["classes"]:
            low, high = row.pop("iou_interval") or ("", "")
            told = {**row, "model": name, "class_id": row.pop("id"), "class": row.pop("name")}
            told |= {"iou_low": low, "iou_high": high, "in_truth": "yes" if row["in_truth"] else "no"}
            writer.writerow({key: told[key] for key in COLUMNS})
        writer.writerow({"model": name, **_means(evaluation)})
    write_whole(path, file.getvalue().encode("utf-8", "replace"), "the evaluation")


def checked_target(path: PathLike, overwrite: bool) -> Path:
    """Return the path of a new file.

    Raises:
        FileExistsError: if it is a folder, or is there and `overwrite` is false.
    """
    path = Path(path)
    if path.is_dir():
        raise FileExistsError(f"{path}: is a folder; give the path of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path}: exists already; add overwrite=True or choose another path")
    return path


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Return what `Evaluation.as_dict` does."""
    intervals, pictures = evaluation.intervals, evaluation.pictures
    means = {name: evaluation.mean_of(name) for name in MEANS}
    means |= {"mean_iou": evaluation.mean_iou, "pixel_accuracy": evaluation.pixel_accuracy}
    found = {
        "model": dict(evaluation.facts),
        "pictures": None if pictures is None else len(pictures.names),
        "pixels_outside": evaluation.pixels_outside,
        **means,
        "calibration_error": evaluation.calibration_error,
        "latency_ms": evaluation.latency_ms,
        "intervals": None
        if intervals is None
        else {name: intervals[name] for name in MEANS if name in intervals},
        "absent": evaluation.absent,
        "classes": [_class(evaluation, index) for index in range(len(evaluation.class_names))],
        "confusion_matrix": evaluation.matrix,
        "missed": evaluation.missed,
        "calibration": _bins(evaluation.calibration),
        "by_picture": None if pictures is None else _by_picture(evaluation),
    }
    return _plain(found)


def _class(evaluation, index):
    """Return the row of a class."""
    intervals = evaluation.intervals
    return {
        "id": index,
        "name": evaluation.class_names[index],
        **{
            name.removeprefix("class_"): evaluation.scores[name][index] if name in evaluation.scores else None
            for name in CLASS_SCORES
        },
        "iou_interval": None if intervals is None else intervals["class_iou"][index],
        "pixels": evaluation.support[index],
        "share": evaluation.class_share[index],
        "in_truth": bool(evaluation.support[index]),
    }


def _means(evaluation):
    found = as_dict(evaluation)
    low, high = (found["intervals"] or {}).get("mean_iou") or ("", "")
    return {
        "iou": found["mean_iou"],
        "iou_low": low,
        "iou_high": high,
        "dice": found["mean_dice"],
        "recall": found["mean_accuracy"],
        "boundary_iou": found["mean_boundary_iou"],
        "boundary_f1": found["mean_boundary_f1"],
        "pixels": int(evaluation.support.sum()),
    }


def _bins(calibration):
    if calibration is None:
        return None
    columns = calibration.counts, calibration.accuracy, calibration.confidence
    return [
        {"low": i / BINS, "high": (i + 1) / BINS, "pixels": pixels, "accuracy": right, "confidence": sure}
        for i, (pixels, right, sure) in enumerate(zip(*columns, strict=True))
    ]


def _by_picture(evaluation):
    pictures = evaluation.pictures
    scores = scores_of(pictures.areas, None, None, evaluation.labels is not None)
    columns = pictures.names, scores["mean_iou"], scores["pixel_accuracy"]
    return [
        {"name": name, "mean_iou": iou, "pixel_accuracy": accuracy}
        for name, iou, accuracy in zip(*columns, strict=True)
    ]


def _plain(value):
    """Return a value as JSON holds it: lists, ints, floats, `None` for what is no number."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
