"""What makes the scores of a model: auxiliary heads, the last resize."""

from __future__ import annotations

import keras

from kseg.graphs.keras_graph import functional, origin


def has_auxiliary_heads(model: keras.Model) -> bool:
    """Tell whether a training step of the model gives the scores of auxiliary heads too."""
    last, _ = origin(model.outputs[0])
    inside = functional(last) if isinstance(last, keras.Model) else None
    if inside is not None:
        return has_auxiliary_heads(inside)
    return getattr(last, "auxiliary_heads", False)


def before_last_resize(model: keras.Model) -> tuple[keras.Model, int]:
    """Return the model up to its last resize, and the resize's factor.

    Raises:
        ValueError: if the scores do not come from a resize at the end.
    """
    last, inputs = origin(model.outputs[0])
    while not getattr(last, "enlarges_scores", False):
        activates = isinstance(last, keras.layers.Activation | keras.layers.Softmax)
        if not activates and not getattr(last, "keeps_scores", False):
            raise ValueError(
                f"output_kind='fast_classes' takes the classes before the last resize, but model "
                f"{model.name!r} does not end in one; use output_kind='classes'"
            )
        last, inputs = origin(inputs[0])
    return keras.Model(model.input, inputs[0]), last.factor
