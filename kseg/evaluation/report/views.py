"""What the page of a report shows, ready for its template: texts, lengths, addresses of pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from kseg.evaluation.calibration import BINS
from kseg.evaluation.facts import with_file
from kseg.evaluation.figures import Evaluation
from kseg.evaluation.report.pictures import ids_png, jpeg
from kseg.evaluation.samples import Sample
from kseg.evaluation.tables import COLUMNS, SUMMARY
from kseg.visualization import palette

LARGEST_MATRIX = 40  # classes; of more the page would be slow
CONFUSIONS = 30  # that are listed where there are more classes
_HEAT = 10  # steps of the colour of a cell


def summary(evaluations: Mapping[str, Evaluation]) -> list[dict[str, Any]]:
    """Return the rows of the scores of all classes together, a cell for each model."""
    rows = []
    for name, label in SUMMARY.items():
        cells = [_score(each, name) for each in evaluations.values()]
        if any(cell["value"] is not None for cell in cells):
            rows.append({"label": label, "cells": cells})
    for label, attribute, pattern in (
        ("calibration error (ECE)", "calibration_error", "{:.4f}"),
        ("median time per picture", "latency_ms", "{:.1f} ms"),
    ):
        values = [getattr(each, attribute) for each in evaluations.values()]
        if any(value is not None for value in values):
            cells = [
                {"text": "n/a" if value is None else pattern.format(value), "value": None, "interval": None}
                for value in values
            ]
            rows.append({"label": label, "cells": cells})
    return rows


def model(name: str, evaluation: Evaluation) -> dict[str, Any]:
    """Return what is shown of one model."""
    return {
        "name": name,
        "classes": classes(evaluation),
        "columns": [label for key, label in COLUMNS.items() if key in evaluation.scores],
        "absent": evaluation.absent,
        "pixels_outside": evaluation.pixels_outside,
        "matrix": _matrix(evaluation),
        "confusions": _confusions(evaluation),
        "calibration": _calibration(evaluation),
        "worst": [_sample(sample) for sample in evaluation.worst],
        "best": [_sample(sample) for sample in evaluation.best],
        "card": card(evaluation),
        "multilabel": evaluation.labels is not None,
    }


def classes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the rows of the classes."""
    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in palette(len(evaluation.class_names))]
    intervals = (evaluation.intervals or {}).get("class_iou")
    rows = []
    for index, name in enumerate(evaluation.class_names):
        scores = [evaluation.scores[key][index] for key in COLUMNS if key in evaluation.scores]
        share = evaluation.class_share[index]
        rows.append(
            {
                "id": index,
                "name": name,
                "color": colors[index],
                "iou": _length(evaluation.class_iou[index]),
                "iou_text": _text(evaluation.class_iou[index]),
                "interval": None if intervals is None else _ends(intervals[index]),
                "scores": [_text(score) for score in scores],
                "share": "n/a" if np.isnan(share) else f"{100 * share:.2f} %",
                "share_length": _length(share),
                "pixels": f"{int(evaluation.support[index]):,}",
            }
        )
    return rows


def card(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what is known of a model, labels and texts."""
    facts = with_file(evaluation.facts)
    size, count = facts.get("input_size"), facts.get("parameters")
    taken = "any size" if size is None else f"{size[0]} × {size[1]} pixels"
    channels = facts.get("channels")
    path = facts.get("path")
    told = {
        "File": None if path is None else os.path.basename(path),  # noqa: PTH119 - of any system
        "Format": facts.get("format"),
        "Architecture": facts.get("architecture"),
        "Parameters": None if count is None else f"{count:,}",
        "Takes": None if channels is None else f"{taken}, {channels} channels",
        "Gives": facts.get("output_kind"),
        "Labels": "several per pixel" if evaluation.labels is not None else "one class per pixel",
        "Classes": str(len(evaluation.class_names)),
        "Pictures": None if evaluation.pictures is None else f"{len(evaluation.pictures.names):,}",
        "Size": None if facts["size_bytes"] is None else f"{facts['size_bytes'] / 1e6:.2f} MB",
        "SHA-256": facts["sha256"],
    }
    return [(label, str(text)) for label, text in told.items() if text is not None]


def _score(evaluation, name):
    is_attribute = name in ("mean_iou", "pixel_accuracy")
    value = getattr(evaluation, name) if is_attribute else evaluation.mean_of(name)
    found = (evaluation.intervals or {}).get(name)
    ends = None if found is None or np.isnan(found).any() else "{:.3f}–{:.3f}".format(*found)
    return {"value": _length(value), "text": _text(value), "interval": ends}


def _text(value):
    return "n/a" if value is None or np.isnan(value) else f"{value:.4f}"


def _length(share):
    """Return a share of 1 as a length of 100, `None` where there is none."""
    return None if share is None or not np.isfinite(share) else round(100 * float(share), 2)


def _ends(interval):
    low, high = (_length(each) for each in interval)
    # one that has no width would look like a score
    return None if low is None or high is None or low == high else {"low": low, "high": high}


def _matrix(evaluation):
    """Return the rows of the confusion matrix, each cell with its share of the row."""
    if evaluation.matrix is None or len(evaluation.class_names) > LARGEST_MATRIX:
        return None
    totals, rows = evaluation.support, []
    for index, counts in enumerate(evaluation.matrix):
        cells = []
        for count in counts.tolist():
            share = count / totals[index] if totals[index] else 0.0
            percent = "" if not count else "<1" if share < 0.005 else f"{100 * share:.0f}"
            cells.append(
                {
                    "count": f"{count:,}",
                    "percent": percent,
                    "share": f"{100 * share:.2f}",
                    "heat": _heat(share),
                }
            )
        rows.append({"id": index, "name": evaluation.class_names[index], "cells": cells})
    return rows


def _heat(share):
    return 0 if share <= 0 else max(1, round(_HEAT * share))


def _confusions(evaluation):
    """Return the largest confusions, where a matrix has too many classes to be shown."""
    if evaluation.matrix is None or len(evaluation.class_names) <= LARGEST_MATRIX:
        return None
    return [
        {
            "names": (each.true, each.predicted),
            "ids": each.ids,
            "count": f"{each.pixels:,}",
            "share": f"{100 * each.share:.1f}",
        }
        for each in evaluation.confusions()[:CONFUSIONS]
    ]


def _calibration(evaluation):
    calibration = evaluation.calibration
    if calibration is None:
        return None
    rows, most = [], max(int(calibration.counts.max()), 1)
    columns = calibration.counts, calibration.accuracy, calibration.confidence
    for index, (pixels, accuracy, confidence) in enumerate(zip(*columns, strict=True)):
        rows.append(
            {
                "low": f"{index / BINS:.2f}",
                "high": f"{(index + 1) / BINS:.2f}",
                "left": round(100 * index / BINS, 3),
                "pixels": f"{int(pixels):,}",
                "weight": round(100 * int(pixels) / most, 2),
                "accuracy": _length(accuracy),
                "accuracy_text": _text(accuracy),
                "confidence_text": _text(confidence),
            }
        )
    return {"error": f"{calibration.error:.4f}", "bins": rows, "width": round(100 / BINS, 3)}


def _sample(sample: Sample) -> dict[str, Any]:
    height, width = sample.true.shape
    sure = sample.confidence
    return {
        "name": sample.name,
        "mean_iou": f"{sample.mean_iou:.3f}",
        "height": height,
        "width": width,
        "picture": jpeg(sample.picture),
        "truth": ids_png(sample.true, sample.wrong),
        "prediction": ids_png(sample.predicted, sample.wrong),
        "confidence": None if sure is None else jpeg(np.round(255 * np.clip(sure, 0, 1)).astype("uint8")),
    }
