"""The facts of a model, each asked for once and handed on."""

from __future__ import annotations

from functools import cached_property

import keras

from kseg.graphs.keras_graph import check_functional, functional, layers_inside, private
from kseg.graphs.precision import in_float32
from kseg.graphs.scores import has_auxiliary_heads, output_activation


class ModelFacts:
    """What kseg asks of a model, each fact found when it is first asked for and then kept.

    Weights may change; the graph of a Keras model does not. `float32` is the exception: it has the weights
    of the moment when it was asked for.

    Args:
        model: functional `keras.Model`.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model

    @cached_property
    def activation(self) -> str | None:
        """`"softmax"`, `"sigmoid"` or `None` (logits)."""
        return output_activation(self.model)

    @property
    def output_kind(self) -> str:
        """`"logits"` or `"probabilities"`."""
        return "logits" if self.activation is None else "probabilities"

    @cached_property
    def auxiliary_heads(self) -> bool:
        """Whether a training step gives the scores of auxiliary heads too."""
        return has_auxiliary_heads(self.model)

    @property
    def input_size(self) -> tuple:
        """`(H, W)` in pixels, `None` for a side that is open."""
        return tuple(self.model.input_shape[1:3])

    @property
    def fixed_size(self) -> tuple | None:
        """`(H, W)` of a model that takes no other, else `None`."""
        return None if None in self.input_size else self.input_size

    @property
    def channels(self) -> int:
        """Channels of the picture."""
        return self.model.input_shape[-1]

    @property
    def num_scores(self) -> int:
        """Channels of the scores."""
        return self.model.output_shape[-1]

    @property
    def num_classes(self) -> int:
        """Classes that are told apart: one channel tells two."""
        return max(self.num_scores, 2)

    @cached_property
    def scores_only_centre(self) -> bool:
        """Whether the scores are those of the middle of the picture alone."""
        return any(getattr(layer, "scores_only_centre", False) for layer in self.model.layers)

    @cached_property
    def rounds_indices(self) -> bool:
        """Whether rounding decides between equal values somewhere, so that two machines may differ."""
        return any(getattr(layer, "rounds_indices", False) for layer in layers_inside(self.model))

    @cached_property
    def float32(self) -> keras.Model:
        """The model, or a float32 copy of one built under a mixed precision policy."""
        return in_float32(self.model)

    def check_one_picture(self) -> None:
        """Raise `TypeError` or `ValueError` unless one picture goes in and one map of scores comes out."""
        model = check_functional(self.model)
        ranks = [len(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
        if ranks != [4, 4] or isinstance(private(functional(model), "_outputs_struct"), dict):
            raise ValueError(
                f"model {model.name!r}: expected (B, H, W, C) in and (B, H, W, classes) out, "
                f"got {model.input_shape} and {model.output_shape}"
            )
