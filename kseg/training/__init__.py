"""Optimiser, schedule, loss and metrics that fit a model; the user then calls `model.fit`."""

from kseg.graphs import encoder_layers
from kseg.training.compiling import compile

__all__ = ["compile", "encoder_layers"]
