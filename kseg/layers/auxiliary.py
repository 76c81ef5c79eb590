"""Auxiliary heads, which serve training alone."""

import keras
from keras import ops

from kseg.layers.common import register
from kseg.types import Tensor


@register
class AuxiliaryOutputs(keras.layers.Layer):
    """Hand the scores of auxiliary heads to the loss while training, and to nobody else.

    In a training step the scores come back stacked along a last axis, the main ones first; the losses of
    `kseg.losses.Auxiliary` and the metrics take that apart. In prediction, evaluation and every export the
    main scores pass alone, and the heads are not computed.

    Call arguments:
        main: `(B, H, W, C)`.
        *auxiliary: `(B, H, W, C)` each.

    Returns:
        `(B, H, W, C)`; in training `(B, H, W, C, 1 + heads)`.
    """

    keeps_scores = True  # what `kseg.graphs` asks of a layer
    auxiliary_heads = True

    def call(self, main: Tensor, *auxiliary: Tensor, training: bool = False) -> Tensor:
        return ops.stack([main, *auxiliary], axis=-1) if training else main

    def compute_output_spec(
        self, main: Tensor, *auxiliary: Tensor, training: bool = False
    ) -> keras.KerasTensor:
        return keras.KerasTensor(main.shape, main.dtype)
