"""What a model costs and sees, read from its graph: multiply-adds and receptive field."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers

from kseg.graphs import check_functional, functional, run_through
from kseg.types import Size

_WITH_KERNELS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D, layers.Dense)


def multiply_adds(model: keras.Model, size: Size) -> int:
    """Return the multiply-adds of all convolutions and dense layers for one picture.

    Papers print these as "FLOPs" of DeepLab or DDRNet; a multiplication and its addition count once.

    Args:
        model: functional `keras.Model`.
        size: `(H, W)` in pixels.

    Returns:
        int.

    Example:
        >>> import kseg
        >>> f"{multiply_adds(kseg.build_conv_stack(11, normalization=None), (360, 480)) / 1e9:.2f}"
        '19.53'
    """
    total = 0
    for layer, inputs, output in static_calls(model, size):
        if isinstance(layer, layers.Conv2DTranspose):
            places = inputs[0].shape[1:3]  # every input pixel spreads the whole kernel
        elif isinstance(layer, _WITH_KERNELS):
            places = output.shape[1:-1]
        else:
            continue
        kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
        total += math.prod(places) * sum(math.prod(kernel.shape) for kernel in kernels)
    return total


def receptive_field(model: keras.Model, size: Size = (512, 512)) -> float:
    """Return the side, in pixels, of the square that one pixel of the output can see; the theoretical one.

    Args:
        model: functional `keras.Model`.
        size: `(H, W)` in pixels to build the graph for; where maps are far smaller than their kernels, the
            field is beyond the picture anyway.

    Returns:
        float; infinite where something pools the whole picture.

    Reference: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill
    2019.

    Example:
        >>> import kseg
        >>> receptive_field(kseg.build_conv_stack(2, depth=4, dilation_rates=(1, 2, 4, 8), filters=2))
        31.0
    """
    fields: dict[int, float] = {}
    for layer, inputs, output in static_calls(model, size):
        seen = max((fields.get(id(tensor), 1.0) for tensor in inputs), default=1.0)
        fields[id(output)] = seen + _reach(layer, inputs, output, size)
    return fields[id(output)]


def _reach(layer, inputs, output, size):
    """Return by how many pixels of the picture a layer widens the field of its inputs."""
    if not inputs or len(inputs[0].shape) != 4:
        return 0.0
    step = size[0] / inputs[0].shape[1]  # pixels of the picture from one cell of the input to the next
    zoom = output.shape[1] / inputs[0].shape[1] if len(output.shape) == 4 else 1.0
    if type(layer).__name__.startswith("Global") or hasattr(layer, "bins"):
        return math.inf
    kernel = _first(getattr(layer, "kernel_size", getattr(layer, "pool_size", 1)))
    if isinstance(layer, layers.Conv2DTranspose):
        return (math.ceil(kernel / _first(layer.strides)) - 1) * step
    if getattr(layer, "interpolation", None) == "bilinear" and zoom != 1:
        return step  # two neighbours
    return (kernel - 1) * _first(getattr(layer, "dilation_rate", 1)) * step


def _first(value):
    return value[0] if isinstance(value, tuple | list) else value


def static_calls(
    model: keras.Model, size: Size
) -> list[tuple[Any, list[keras.KerasTensor], keras.KerasTensor]]:
    """Rebuild a model for one picture of `size`; return `(layer, inputs, output)` of each call, in order.

    Models inside the model are taken apart, so every layer is seen.
    """
    calls = []

    def rebuild(model, tensors):
        # clone_model would do, but for models inside of models, which it cuts off from their inputs
        return run_through(functional(check_functional(model)), tensors, operation_fn=_copy, call_fn=call)

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            return rebuild(layer, args[0])
        output = layer(*args, **kwargs)
        inputs = [x for x in keras.tree.flatten(args) if isinstance(x, keras.KerasTensor)]
        for tensor in keras.tree.flatten(output):
            calls.append((layer, inputs, tensor))
        return output

    check_functional(model)
    rebuild(model, keras.Input((*size, model.input_shape[-1]), batch_size=1))
    return calls


def _copy(operation):
    """Return an operation like this one: a call would add to the graph of its model."""
    if isinstance(operation, keras.Model):
        return operation
    return type(operation).from_config(operation.get_config())


def parameters(model: keras.Model) -> tuple[int, int]:
    """Return the numbers of parameters that train and of all, batch statistics included."""
    trainable, every = (
        sum(int(np.prod(weight.shape)) for weight in weights)
        for weights in (model.trainable_weights, model.weights)
    )
    return trainable, every
