"""Scores made of counts of pixels, of one data set or of many resamples of it at once."""

from __future__ import annotations

import warnings

import numpy as np

SHARE = 0.95  # of the resamples that an interval holds
RESAMPLES = 1000
_AT_ONCE = 4_000_000  # weights of pictures that are held in memory


def scores_of(
    areas: np.ndarray, bands: np.ndarray | None, borders: np.ndarray | None, multilabel: bool
) -> dict[str, np.ndarray]:
    """Return every score of counts, by name.

    Args:
        areas: `(..., 4, num_classes)`: per class the pixels that truth and prediction have, those of the
            truth, those of the prediction, those that are counted.
        bands: `None` or `(..., 3, num_classes)`, as `kseg.evaluation.boundaries.band_counts`.
        borders: `None` or `(..., 4, num_classes)`, as `border_counts` there.
        multilabel: whether a pixel may have several labels.

    Returns:
        dict: `class_*` float64 `(..., num_classes)`, NaN where nothing is to be scored; the others `(...)`.
    """
    both, true, predicted, counted = np.moveaxis(areas.astype("float64"), -2, 0)
    iou, recall = _shares(both, true + predicted - both), _shares(both, true)
    found = {
        "class_iou": iou,
        "class_dice": _shares(2 * both, true + predicted),
        "class_precision": _shares(both, predicted),
        "class_recall": recall,
    }
    if bands is not None and borders is not None:
        common, of_truth, of_guess = np.moveaxis(bands.astype("float64"), -2, 0)
        found["class_boundary_iou"] = _shares(common, of_truth + of_guess - common)
        found["class_boundary_f1"] = _boundary_f1(*np.moveaxis(borders.astype("float64"), -2, 0))
    means = {name.replace("class", "mean", 1): _mean(value) for name, value in found.items()}
    means["mean_accuracy"] = means.pop("mean_recall")
    del means["mean_precision"]
    right = counted - true - predicted + 2 * both if multilabel else both
    whole = (counted if multilabel else true).sum(-1)
    return {
        **found,
        **means,
        "frequency_weighted_iou": _shares((true * np.nan_to_num(iou)).sum(-1), true.sum(-1)),
        "pixel_accuracy": _shares(right.sum(-1), whole),
    }


def intervals_of(
    areas: np.ndarray,
    bands: np.ndarray | None,
    borders: np.ndarray | None,
    multilabel: bool,
    *,
    share: float = SHARE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Return the bootstrap interval of every score over pictures: percentiles of resamples of the pictures.

    A resample draws as many pictures as there are, with replacement; its counts are the sum of theirs. A
    class that a resample lacks has no score there and is left out.

    Reference: Efron and Tibshirani 1993 ("An Introduction to the Bootstrap"), section 13.3.

    Args:
        areas, bands, borders, multilabel: as for `scores_of`, the first axis that of the pictures.
        share: of the resamples that lie in the interval.
        resamples: how many are drawn.
        seed: of the draws.

    Returns:
        dict, names of `scores_of` → float64 `(2,)`, low and high; of classes `(num_classes, 2)`.
    """
    kinds = [kind for kind in (areas, bands, borders) if kind is not None]
    rows = np.cumsum([kind.shape[1] for kind in kinds])[:-1]
    counts = np.concatenate(kinds, axis=1).astype("float64")  # (pictures, rows, classes)
    pictures, rng, drawn = len(counts), np.random.default_rng(seed), []
    for start in range(0, resamples, step := max(_AT_ONCE // pictures, 1)):
        size = min(step, resamples - start)
        weights = rng.multinomial(pictures, np.full(pictures, 1 / pictures), size).astype("float64")
        sums = np.tensordot(weights, counts, 1)
        found, *along = np.split(sums, rows, axis=1)
        of_bands, of_borders = along or (None, None)
        drawn.append(scores_of(found, of_bands, of_borders, multilabel))
    ends = 50 * (1 - share), 50 * (1 + share)  # in percent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a class that no resample has: NaN
        return {
            name: np.nanpercentile(np.concatenate([each[name] for each in drawn]), ends, axis=0).T
            for name in drawn[0]
        }


def _shares(part, whole):
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def _mean(values):
    """Return the mean over the last axis of what is no NaN, NaN where all are."""
    known = np.isfinite(values)
    return _shares(np.where(known, values, 0).sum(-1), known.sum(-1))


def _boundary_f1(predicted, near_true, true, near_predicted):
    """Return twice precision times recall by their sum; 0 where they are 0, NaN where there is no border."""
    precision, recall = (
        np.nan_to_num(_shares(*each)) for each in ((near_true, predicted), (near_predicted, true))
    )
    f1 = np.nan_to_num(_shares(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, f1, np.nan)
