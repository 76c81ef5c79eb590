"""Copies of layers, and what is inside composite ones."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from kseg.graphs import functional, has_layers_inside, layers_inside, owns_variables
from kseg.layers import BatchNormalization


def copy_layer(layer: Any, name: str) -> Any:
    """Copy a layer without its weights, under another name."""
    if isinstance(layer, layers.Lambda):
        return layer  # it has no weights, and Keras builds none from a config
    try:
        return layer.__class__.from_config({**_config(layer), "name": name})
    except Exception as error:  # whatever a foreign layer makes of its own config
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) of the backbone cannot be copied for this "
            f"output_stride, its get_config does not rebuild it: {str(error).splitlines()[0]}"
        ) from error


def fused_norms(momentum: float) -> Callable[[Any, str], Any]:
    """Return a `copy_layer` whose batch norms train by the fused kernel, with at most this momentum.

    MobileNet's 0.999 suits a million ImageNet steps. Untrained weights move so fast that even after 100
    steps at 0.99 the moving averages lag behind and validation is worthless; pretrained ones move slowly.
    """

    def copy(layer, name):
        if not isinstance(layer, layers.BatchNormalization):
            return copy_layer(layer, name)
        config = layer.get_config()
        config |= {"name": name, "momentum": min(config["momentum"], momentum)}
        return BatchNormalization.from_config(config)

    return copy


def _config(layer):
    config = layer.get_config()
    if type(getattr(layer, "activation", None)).__name__ == "HardSigmoidActivation":
        config["activation"] = "hard_sigmoid"  # keras-cv's layer of that function cannot come from a config
    return config


def take_weights(copy: keras.Layer, layer: keras.Layer) -> None:
    """Give a built copy the weights of a layer."""
    if copy.weights:
        copy.set_weights(layer.get_weights())
    for part in [copy, *layers_inside(copy)]:
        if isinstance(part, layers.Normalization):
            part.finalize_state()  # what it applies is computed from its weights


def inside(layer: Any, args: Any, kwargs: dict[str, Any]) -> keras.Model | None:
    """Return a functional model of what a nested model, a `Lambda` or a composite layer computes.

    `None` if it cannot be had: for a plain layer, for one with weights of its own, and for code that does
    not run on symbolic tensors.
    """
    if isinstance(layer, keras.Model):
        return functional(layer)
    if not _can_open(layer):
        return None
    try:
        return _traced(layer, args, kwargs)
    except Exception:  # whatever a foreign layer does to symbolic tensors
        return None


def _can_open(layer):
    """Tell whether the layer's weights all belong to layers inside it, which can be copied one by one."""
    if not isinstance(layer, layers.Layer):
        return False
    return isinstance(layer, layers.Lambda) or (not owns_variables(layer) and has_layers_inside(layer))


def _traced(layer, args, kwargs):
    """Return a functional model of the layer's `call`."""
    symbols = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype) if keras.backend.is_keras_tensor(x) else x,
        args,
    )
    kwargs = {name: value for name, value in kwargs.items() if value is not None}
    if isinstance(layer, layers.Lambda):
        call, kwargs = layer.function, {**(layer.arguments or {}), **kwargs}
    else:
        call = layer.call
    if "training" in inspect.signature(call).parameters:
        kwargs = {**kwargs, "training": None}  # inner layers follow the mode of the model
    outputs = call(*symbols, **kwargs)
    inputs = [x for x in keras.tree.flatten(symbols) if keras.backend.is_keras_tensor(x)]
    return keras.Model(inputs, outputs)
