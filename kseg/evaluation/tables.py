"""Evaluations as text: one in full, several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kseg.evaluation.figures import CLASS_SCORES, Evaluation, check_same_classes

COLUMNS = dict(
    zip(CLASS_SCORES, ("IoU", "Dice", "precision", "recall", "boundary IoU", "boundary F1"), strict=True)
)
SUMMARY = {
    "mean_iou": "mean IoU",
    "mean_dice": "mean Dice",
    "mean_boundary_iou": "boundary IoU",
    "mean_boundary_f1": "boundary F1",
    "frequency_weighted_iou": "weighted IoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
}


def table(evaluations: Mapping[str, Evaluation]) -> str:
    """Return evaluations as text: the scores of one class by class, the IoU of several side by side.

    Below stand the means over the classes, those of IoU and of the F1 of borders with the 95 % interval over
    pictures, and what is not counted: classes without a pixel in the truth, pixels outside the classes.

    Args:
        evaluations: dict, column heading → `Evaluation` of the same classes.

    Raises:
        ValueError: if there is none, or their classes differ.
    """
    check_same_classes(evaluations)
    first = next(iter(evaluations.values()))
    if len(evaluations) == 1:
        (heading,) = evaluations
        names = [name for name in COLUMNS if name in first.scores]
        rows = [(heading, [COLUMNS[name] for name in names] + ["pixels"])]
        for index, label in enumerate(first.class_names):
            cells = [_figure(first.scores[name][index]) for name in names]
            rows.append((label, [*cells, _share(first.class_share[index])]))
    else:
        rows = [("", list(evaluations))]
        for index, label in enumerate(first.class_names):
            rows.append((label, [_figure(each.class_iou[index]) for each in evaluations.values()]))
    rows += _summary(list(evaluations.values()))
    width = max(len(label) for label, _ in rows)
    columns = [
        max(6, *(len(cells[i]) for _, cells in rows if i < len(cells))) for i in range(len(rows[0][1]))
    ]
    lines = [
        f"{label:{width}}  " + "  ".join(f"{cell:>{c}}" for cell, c in zip(cells, columns, strict=False))
        for label, cells in rows
    ]
    return "\n".join([*lines, *_remarks(evaluations)])


def _summary(evaluations: Sequence[Evaluation]) -> list[tuple[str, list[str]]]:
    """Return the rows of what is told of all classes together."""
    rows = []
    for name, label in SUMMARY.items():
        values = [_value(each, name) for each in evaluations]
        if any(value is not None for value in values):
            rows.append((label, [_figure(value) for value in values]))
            if name in ("mean_iou", "mean_boundary_f1") and any(each.intervals for each in evaluations):
                rows.append(("  95 % interval", [_interval(each, name) for each in evaluations]))
    errors = [each.calibration_error for each in evaluations]
    if any(error is not None for error in errors):
        rows.append(("calibration error", [_figure(error) for error in errors]))
    return rows


def _remarks(evaluations: Mapping[str, Evaluation]) -> list[str]:
    first, remarks = next(iter(evaluations.values())), []
    if first.absent:
        remarks.append(f"without a pixel in the truth: {', '.join(first.absent)}")
    for heading, each in evaluations.items():
        if each.pixels_outside:
            whose = f"{heading}: " if len(evaluations) > 1 else ""
            remarks.append(f"{whose}{each.pixels_outside} pixels outside the classes are not counted")
    return remarks


def _value(evaluation, name):
    """Return a score; the two that an evaluation has always had by their attribute."""
    return getattr(evaluation, name) if name in ("mean_iou", "pixel_accuracy") else evaluation.mean_of(name)


def _interval(evaluation, name):
    found = (evaluation.intervals or {}).get(name)
    return "n/a" if found is None or np.isnan(found).any() else "{:.3f}–{:.3f}".format(*found)


def _figure(value):
    return "n/a" if value is None or np.isnan(value) else f"{value:.4f}"


def _share(value):
    return "n/a" if np.isnan(value) else f"{100 * value:.2f} %"
