"""Losses on integer masks and logits: void left out, normalised over all replicas, never broadcast.

All take `y_true` as ids `(B, H, W)` or `(B, H, W, 1)`, or one-hot or soft targets `(B, H, W, C)`, told apart
by shape, and `y_pred` as `(B, H, W, C)`. One channel is the binary case with ids 0 and 1. With
`multilabel=True` a pixel has several labels or none: `y_true` is `(B, H, W, C)` of 0, 1 and void (255), the
scores are judged by a sigmoid each. A target that is neither a class nor void makes them NaN, unless
TensorFlow raises first; so does a negative weight. Scores at void may be anything, NaN too. They combine:
`CrossEntropy() + 0.5 * Dice()`, `(CrossEntropy() - Dice()) / 2`.
"""

from kseg.losses.boundary import Boundary
from kseg.losses.combining import Auxiliary, PerReplica, WeightedSum
from kseg.losses.hard_pixels import Focal, OhemCrossEntropy
from kseg.losses.lovasz import Lovasz
from kseg.losses.pixel import CrossEntropy
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
