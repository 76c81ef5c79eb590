"""Metrics over the whole data set: counts summed over batches and replicas, void left out.

A true id that is neither a class nor void is left out and counted in `outside`; a predicted one is a miss of
the true class. With `multilabel=True` a pixel has several labels or none, masks are `(B, H, W, C)`.
"""

from kseg.metrics.arrays import Confusion, LabelCounts, iou_of
from kseg.metrics.boundary import BoundaryF1, BoundaryIoU
from kseg.metrics.confusion import ConfusionMatrix, MeanIoU
from kseg.metrics.overlap import ClassIoU, MeanDice, PixelAccuracy

__all__ = [
    "BoundaryF1",
    "BoundaryIoU",
    "ClassIoU",
    "Confusion",
    "ConfusionMatrix",
    "LabelCounts",
    "MeanDice",
    "MeanIoU",
    "PixelAccuracy",
    "iou_of",
]
