"""Metrics over the whole data set: counts summed over batches and replicas, void left out."""

from kseg.metrics.boundary import BoundaryF1, BoundaryIoU
from kseg.metrics.confusion import (
    ClassIoU,
    Confusion,
    ConfusionMatrix,
    MeanDice,
    MeanIoU,
    PixelAccuracy,
    iou_of,
)

__all__ = [
    "BoundaryF1",
    "BoundaryIoU",
    "ClassIoU",
    "Confusion",
    "ConfusionMatrix",
    "MeanDice",
    "MeanIoU",
    "PixelAccuracy",
    "iou_of",
]
