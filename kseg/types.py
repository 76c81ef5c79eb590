"""Types that many signatures share. Keras and TensorFlow carry no hints: their objects count as `Any`."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

Activation: TypeAlias = Literal["softmax", "sigmoid"] | None  # of the scores; None: logits
ClassWeights: TypeAlias = Sequence[float] | np.ndarray | None
Dataset: TypeAlias = Iterable[Any]  # batches (images, masks): a `tf.data.Dataset`, a list
Features: TypeAlias = dict[int, keras.KerasTensor]  # by stride, in pixels
IgnoreClass: TypeAlias = int | Sequence[int] | None  # ids that are void
InputRange: TypeAlias = tuple[float, float] | None  # what a model takes for pixel values 0 and 255
InputShape: TypeAlias = tuple[int | None, int | None, int]  # (H, W, C)
Normalization: TypeAlias = Literal["batch", "group"] | None
PathLike: TypeAlias = str | os.PathLike[str]
Size: TypeAlias = tuple[int, int]  # (H, W) in pixels
StatedActivation: TypeAlias = Literal["softmax", "sigmoid", "linear"] | None  # None: read from the graph
Tensor: TypeAlias = Any  # of the backend, symbolic, or a NumPy array
