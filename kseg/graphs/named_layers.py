"""Layers of a model by what they do: the one that makes the scores, those of the encoder."""

from __future__ import annotations

from typing import Any

import keras

from kseg.graphs.keras_graph import layers_inside, origin


def score_layer(model: keras.Model) -> Any:
    """Return the last layer that has weights: it makes the scores."""
    last, inputs = origin(model.outputs[0])
    while not getattr(last, "weights", ()) and inputs:  # operations of keras.ops have none
        last, inputs = origin(inputs[0])
    return last


def layer_names(model: keras.Model) -> list[str]:
    """Return the names of all layers, also of those in models inside; first the one that makes the scores."""
    return list(dict.fromkeys([score_layer(model).name, *(layer.name for layer in layers_inside(model))]))


def encoder_layers(model: keras.Model) -> list:
    """Return the layers of a kseg model that its backbone, or the paper's own encoder, consists of.

    A backbone is one layer, a nested `keras.Model`. A model without an encoder of its own (`build_ddrnet`,
    `build_conv_stack`) has none.

    Example:
        >>> import kseg
        >>> model = kseg.build_unet(2, backbone="mobilenet_v2")
        >>> for layer in encoder_layers(model):
        ...     layer.trainable = False
        >>> [layer.name for layer in encoder_layers(model)]
        ['mobilenet_v2']
    """
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return nested or [layer for layer in model.layers if layer.name.startswith("encoder_")]
