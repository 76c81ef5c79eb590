"""Losses on integer masks and logits: void left out, normalised over all replicas, never broadcast.

All take `y_true` as ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot or soft targets `(B, H, W, C)`, told apart
by shape, and `y_pred` as `(B, H, W, C)`. One channel is the binary case with ids 0 and 1. An id that is
neither a class nor void makes them NaN, unless TensorFlow raises first. They combine:
`CrossEntropy() + 0.5 * Dice()`.
"""

from kseg.losses.boundary import Boundary
from kseg.losses.combining import Auxiliary, PerReplica, WeightedSum
from kseg.losses.lovasz import Lovasz
from kseg.losses.pixel import CrossEntropy, Focal, OhemCrossEntropy
from kseg.losses.region import Dice, Jaccard, Tversky

__all__ = [
    "Auxiliary",
    "Boundary",
    "CrossEntropy",
    "Dice",
    "Focal",
    "Jaccard",
    "Lovasz",
    "OhemCrossEntropy",
    "PerReplica",
    "Tversky",
    "WeightedSum",
]
