"""What makes the scores of a model: their activation, auxiliary heads, the last resize."""

from __future__ import annotations

import keras

from kseg.graphs.keras_graph import check_functional, origin


def output_activation(model: keras.Model) -> str | None:
    """Return `"softmax"`, `"sigmoid"` or `None` (logits): what the model's last layer applies."""
    last, inputs = origin(model.outputs[0])
    while getattr(last, "keeps_scores", False) or _is_identity(last):
        last, inputs = origin(inputs[0])
    if isinstance(last, keras.Model):
        return output_activation(check_functional(last))
    kind = type(last).__name__.lower()  # the layer Softmax, or an operation of keras.ops
    if kind in ("softmax", "sigmoid"):
        return kind
    name = getattr(getattr(last, "activation", None), "__name__", None)
    return name if name in ("softmax", "sigmoid") else None


def _is_identity(layer) -> bool:
    linear = isinstance(layer, keras.layers.Activation) and layer.activation is keras.activations.linear
    return linear or isinstance(layer, keras.layers.Identity)


def has_auxiliary_heads(model: keras.Model) -> bool:
    """Tell whether a training step of the model gives the scores of auxiliary heads too."""
    last, _ = origin(model.outputs[0])
    if isinstance(last, keras.Model):
        return has_auxiliary_heads(check_functional(last))
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
