"""A model as kseg takes it: one picture goes in, one map of scores comes out."""

from __future__ import annotations

from typing import Any

import keras

from kseg.graphs.keras_graph import built_shape, functional, takes_apart

_WRAP = "kseg takes one picture (B, H, W, C) and one map of scores (B, H, W, classes)"


def one_picture(model: Any) -> keras.Model:
    """Return the functional model of one picture and one map: the model itself where it is one.

    A subclass that was called or built, and an output that is alone under its name, are wrapped: the
    functional model around them shares their layers and weights.

    Raises:
        TypeError: if it is no `keras.Model`.
        ValueError: if it takes or gives something else; it says how to wrap it.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a keras.Model, got {type(model).__name__}")
    graph = functional(model) or _around_subclass(model)
    whose = f"model {model.name!r}"
    if len(graph.inputs) != 1:
        raise ValueError(
            f"{whose} takes {len(graph.inputs)} inputs, {_WRAP}: put one before it, "
            "keras.Model(picture, model([picture, ...]))"
        )
    if len(graph.outputs) != 1:
        raise ValueError(
            f"{whose} has {len(graph.outputs)} outputs, {_WRAP}: choose one, "
            "keras.Model(model.inputs, model.outputs[0])"
        )
    if takes_apart(graph):  # an output by name
        graph = keras.Model(graph.input, graph.outputs[0], name=model.name)
    _check_axes(whose, tuple(graph.inputs[0].shape), graph.outputs[0])
    return graph


def _around_subclass(model):
    """Return a functional model around a subclass, which is one layer of it."""
    shape = built_shape(model)
    if shape is not None and len(shape) == 4 and shape[-1] is not None:
        for size in ((None, None), shape[1:3]):  # the size that it saw first need not be the only one
            image = keras.Input((*size, shape[-1]), name="image")
            try:
                return keras.Model(image, model(image), name=model.name)
            except Exception:  # whatever a call of the user's own raises
                continue
    raise ValueError(
        f"model {model.name!r} ({type(model).__name__}) has no graph that can be read: it is a subclass with "
        "a call of its own, or not built yet; call it on a picture once, or make a functional keras.Model of "
        "it"
    )


def _check_axes(whose, taken, given):
    """Raise unless the axes are those of a picture and of scores or ids."""
    shape = tuple(given.shape)
    if len(taken) != 4 or len(shape) not in (3, 4) or (len(shape) == 3 and not _is_integer(given)):
        raise ValueError(
            f"{whose}: expected (B, H, W, C) in and (B, H, W, classes) out, got {taken} and {shape}; "
            "keras.layers.Reshape brings them there"
        )
    first = taken[1] in (1, 3, 4) and (taken[3] is None or taken[3] > 4)
    last_is_width = len(shape) == 4 and (shape[3] is None or (shape[2:] == taken[1:3] != shape[1:3]))
    if first or last_is_width:
        raise ValueError(
            f"{whose}: channels come first, {taken} in and {shape} out, {_WRAP}: put "
            "keras.layers.Permute((3, 1, 2)) before it and Permute((2, 3, 1)) behind it"
        )
    if taken[3] is None:
        raise ValueError(
            f"{whose}: the channels of its picture are not known, {taken}; give keras.Input them"
        )


def _is_integer(tensor):
    return "int" in tensor.dtype or tensor.dtype == "bool"
