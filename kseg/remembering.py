"""A model that keeps how the files of its pictures are read."""

from __future__ import annotations

from typing import Any

import keras

from kseg.graphs import one_picture, pack_outputs, run_through
from kseg.layers import PixelValues
from kseg.value_range import checked_stated


def with_value_range(model: keras.Model, value_range: Any) -> keras.Model:
    """Return the model with what the files of its pictures hold for black and white.

    The layers and weights are the same, and so is what the model takes: values 0–255. Behind its input
    stands `kseg.layers.PixelValues`, which survives saving, cloning and every export; `kseg.predict` of a
    path and `kseg evaluate` read files by it. How the model was compiled is not taken over.

    Args:
        model: `keras.Model` of one picture and one map of scores.
        value_range: `(low, high)`, each a number or one per channel, for instance the attribute `value_range`
            of a data set; `None` takes a range out again.

    Returns:
        `keras.Model`.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it does not fit, or `value_range` is no range for its channels.

    Example:
        >>> import kseg
        >>> model = kseg.with_value_range(kseg.build_conv_stack(2, depth=1, filters=2), (0, 4095))
        >>> model.layers[1].name
        'pixel_values'
    """
    graph = one_picture(model)
    (taken,) = graph.inputs
    stated = None if value_range is None else checked_stated(value_range)
    if stated is not None and stated.channels not in (None, taken.shape[-1]):
        raise ValueError(
            f"value_range names {stated.channels} channels, and model {model.name!r} takes "
            f"{taken.shape[-1]}; give one number for black and white, or one for each channel"
        )
    image = keras.Input(taken.shape[1:], taken.shape[0], dtype=taken.dtype, name=taken.name)
    picture = image if stated is None else PixelValues(stated, name="pixel_values")(image)

    def call(operation, *arguments, **keywords):
        if isinstance(operation, PixelValues):
            return arguments[0]
        return operation(*arguments, **keywords)

    scores = run_through(graph, picture, lambda operation: operation, call)
    return keras.Model(image, pack_outputs(graph, keras.tree.flatten(scores)), name=model.name)
