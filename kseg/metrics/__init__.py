"""Metrics over the whole data set: counts summed over batches and replicas, void left out."""

from kseg.metrics.arrays import Confusion, iou_of
from kseg.metrics.boundary import BoundaryF1, BoundaryIoU
from kseg.metrics.confusion import ClassIoU, ConfusionMatrix, MeanDice, MeanIoU, PixelAccuracy

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
