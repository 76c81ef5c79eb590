"""The facts of a model, each asked for once and handed on."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kseg.checks import check_choice
from kseg.graphs.keras_graph import layers_inside, run_through
from kseg.graphs.one_picture import one_picture
from kseg.graphs.output_kind import output_kind
from kseg.graphs.precision import in_float32
from kseg.graphs.scores import has_auxiliary_heads
from kseg.pictures import PIXEL_RANGE, probes, scaled
from kseg.value_range import ValueRange

ACTIVATIONS = ("softmax", "sigmoid", "linear")


class ModelFacts:
    """What kseg asks of a model, each fact found when it is first asked for and then kept.

    Weights may change; the graph of a Keras model does not. `float32` is the exception: it has the weights
    of the moment when it was asked for.

    Args:
        model: `keras.Model` of one picture and one map of scores, see `kseg.graphs.one_picture`.
        activation: `"softmax"`, `"sigmoid"` or `"linear"` (logits), what the model ends in; `None` reads it
            from the graph.
        multilabel: whether a pixel may have several labels, one sigmoid each; `None` asks the loss that the
            model was compiled with.

    Attributes:
        model: the functional model of one picture and one map: the user's own where it is one.

    Raises:
        TypeError: if it is no `keras.Model`.
        ValueError: for a model that does not fit; if `activation` is not what the graph says.
    """

    def __init__(
        self, model: keras.Model, activation: str | None = None, multilabel: bool | None = None
    ) -> None:
        self.model = one_picture(model)
        check_choice("activation", activation, (None, *ACTIVATIONS))
        self.multilabel = trained_multilabel(model) if multilabel is None else bool(multilabel)
        self.stated = activation or _by_loss(model, self)
        if activation is not None and self.found is not None and self.found != activation:
            raise ValueError(
                f"activation={activation!r}, but model {self.model.name!r} gives {_SAYS[self.found]}; leave "
                "activation= out"
            )
        known = activation or self.found
        if self.multilabel and known in ("softmax", "classes"):
            raise ValueError(
                f"multilabel=True takes one sigmoid per label, but model {self.model.name!r} gives "
                f"{_SAYS[known]}; build it with activation='sigmoid' or None"
            )

    @cached_property
    def found(self) -> str | None:
        """`"softmax"`, `"sigmoid"`, `"linear"` or `"classes"`; `None` where the graph does not tell."""
        return output_kind(self.model)

    @property
    def activation(self) -> str | None:
        """`"softmax"`, `"sigmoid"` or `None` (logits, or class ids)."""
        kind = self.found or self.stated
        if kind is None:
            raise ValueError(untold(f"model {self.model.name!r}"))
        return None if kind in ("linear", "classes") else kind

    @property
    def output_kind(self) -> str:
        """`"logits"`, `"probabilities"` or `"classes"`."""
        if self.found == "classes":
            return "classes"
        return "logits" if self.activation is None else "probabilities"

    @property
    def told(self) -> bool:
        """Whether graph or user tell what the model gives."""
        return (self.found or self.stated) is not None

    def settled(self, input_range: Sequence[float] | None = None) -> ModelFacts:
        """Return facts that know what the model gives, judged by its values where its graph does not tell.

        Nothing is kept: the weights may change.

        Args:
            input_range: as for `kseg.pictures.in_pixel_range`.

        Raises:
            ValueError: if the values can be both; `activation=` then says it.
        """
        if self.told:
            return self
        pictures = (scaled(each, input_range) for each in probes(self.fixed_size, self.channels))
        scores = [np.asarray(self.model(each, training=False)) for each in pictures]
        facts = copy.copy(self)
        facts.stated = judged_kind(f"model {self.model.name!r}", scores, self.multilabel)
        return facts

    def taking_pixels(self, input_range: Sequence[float] | None) -> ModelFacts:
        """Return the facts of a model that takes values 0–255 and brings them to `input_range` itself."""
        if input_range is None or tuple(input_range) == PIXEL_RANGE:
            return self
        low, high = input_range
        image = keras.Input((*self.input_size, self.channels), name="image")
        scale = keras.layers.Rescaling((high - low) / PIXEL_RANGE[1], offset=low, name="scale_pixels")
        scores = run_through(self.model, scale(image), lambda operation: operation, _call)
        model = keras.Model(image, keras.tree.flatten(scores)[0], name=self.model.name)
        facts = ModelFacts(model, multilabel=self.multilabel)
        facts.stated = self.stated
        return facts

    @cached_property
    def auxiliary_heads(self) -> bool:
        """Whether a training step gives the scores of auxiliary heads too."""
        return has_auxiliary_heads(self.model)

    @property
    def input_size(self) -> tuple:
        """`(H, W)` in pixels, `None` for a side that is open."""
        return tuple(self.model.inputs[0].shape[1:3])

    @property
    def fixed_size(self) -> tuple | None:
        """`(H, W)` of a model that takes no other, else `None`."""
        return None if None in self.input_size else self.input_size

    @property
    def channels(self) -> int:
        """Channels of the picture."""
        return self.model.inputs[0].shape[-1]

    @property
    def num_scores(self) -> int | None:
        """Channels of the scores, `None` of a model that gives class ids."""
        return None if self.found == "classes" else self.model.outputs[0].shape[-1]

    @property
    def num_classes(self) -> int | None:
        """Classes that are told apart (one channel tells two), or labels; `None` as for `num_scores`."""
        if self.num_scores is None or self.multilabel:
            return self.num_scores
        return max(self.num_scores, 2)

    @cached_property
    def value_range(self) -> ValueRange | None:
        """What the files of its pictures hold for black and white, which a layer keeps; `None` for 0–255."""
        found = (getattr(layer, "value_range", None) for layer in layers_inside(self.model))
        return next((each for each in found if isinstance(each, ValueRange)), None)

    @cached_property
    def scores_only_centre(self) -> bool:
        """Whether the scores are those of the middle of the picture alone."""
        return any(getattr(layer, "scores_only_centre", False) for layer in layers_inside(self.model))

    @cached_property
    def rounds_indices(self) -> bool:
        """Whether rounding decides between equal values somewhere, so that two machines may differ."""
        return any(getattr(layer, "rounds_indices", False) for layer in layers_inside(self.model))

    @cached_property
    def float32(self) -> keras.Model:
        """The model, or a float32 copy of one built under a mixed precision policy."""
        return in_float32(self.model)


def _call(operation, *arguments, **keywords):
    return operation(*arguments, **keywords)


_SAYS = {
    "softmax": "probabilities of a softmax",
    "sigmoid": "probabilities of a sigmoid",
    "linear": "logits",
    "classes": "class ids",
}


def trained_multilabel(model: keras.Model) -> bool:
    """Tell whether the loss that a model was compiled with takes several labels per pixel."""
    return any(getattr(loss, "multilabel", False) is True for loss in losses_inside(_loss_of(model)))


def losses_inside(loss: Any) -> list:
    """Return the losses that a loss is made of, itself among them."""
    found = [loss]
    for each in found:  # grows
        if type(each).__module__.startswith("kseg."):  # sums and wrappers of our own, no others'
            found += [each.loss] if hasattr(each, "loss") else []
            found += [part for part, _ in getattr(each, "parts", [])]
    return found


def _by_loss(model, facts):
    """Return the activation that the loss states, which a model was compiled with, or `None`."""
    stated = {getattr(loss, "from_logits", None) for loss in losses_inside(_loss_of(model))} - {None}
    if stated == {True}:
        return "linear"
    one_each = facts.multilabel or facts.model.outputs[0].shape[-1] == 1
    return ("sigmoid" if one_each else "softmax") if stated == {False} else None


def _loss_of(model):
    return getattr(model, "loss", None)


def judged_kind(name: str, scores: Sequence[np.ndarray], multilabel: bool = False) -> str:
    """Return `"softmax"` or `"sigmoid"`, where the values of scores can be nothing else.

    That is so if those of two or more channels sum to 1, or if those of one channel come near 0 and 1 and do
    not leave them, which is told by a warning.

    Args:
        name: of the model or file.
        scores: arrays `(B, H, W, C)` of several pictures.
        multilabel: whether the channels are labels, which need not sum to 1.

    Raises:
        ValueError: if they can be logits as well.
    """
    kind = _kind_of_values([np.asarray(each, "float32") for each in scores], multilabel)
    if kind is None:
        raise ValueError(untold(name))
    if kind == "sigmoid":
        warnings.warn(
            f"{name}: taken for probabilities by its values for a few pictures; activation='sigmoid' says so "
            "for certain",
            UserWarning,
            stacklevel=4,
        )
    return kind


def untold(name: str) -> str:
    """Return the sentence about a model that does not tell what it gives."""
    return (
        f"{name}: nothing tells whether it gives logits or probabilities; say it by activation=: 'linear' "
        "(logits), 'softmax' or 'sigmoid'"
    )


def _kind_of_values(arrays, multilabel):
    if not all(np.isfinite(each).all() for each in arrays):
        return None
    low, high = min(each.min() for each in arrays), max(each.max() for each in arrays)
    if arrays[0].shape[-1] == 1 or multilabel:
        return "sigmoid" if 0 <= low < 0.01 and 0.99 < high <= 1 else None
    sums_to_one = all(np.abs(each.sum(-1) - 1).max() < 1e-2 for each in arrays)
    return "softmax" if low >= 0 and sums_to_one else None
