"""Every question to a Keras graph: what made a tensor, which layers are inside, the facts of a model.

Keras' private names are asked for here and in `kseg.distribution.keras_trainer` alone, and what a version of
Keras lacks is named. What a layer does to scores it says itself, by its attributes `keeps_scores`,
`auxiliary_heads`, `scores_only_centre`, `enlarges_scores` and `rounds_indices`: this file knows no layer of
kseg's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import keras

TESTED_KERAS = "3.15.1"  # whose private names stand here and in `kseg.distribution.keras_trainer`


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
        if ranks != [4, 4] or isinstance(_private(functional(model), "_outputs_struct"), dict):
            raise ValueError(
                f"model {model.name!r}: expected (B, H, W, C) in and (B, H, W, classes) out, "
                f"got {model.input_shape} and {model.output_shape}"
            )


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


def in_float32(model: keras.Model) -> keras.Model:
    """Return the model, or a float32 copy of one built under a mixed precision policy."""
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in layers_inside(model)):
        return model

    def convert(layer):
        if isinstance(layer, keras.Model):
            return in_float32(layer)
        return layer.__class__.from_config({**layer.get_config(), "dtype": "float32"})

    clone = keras.models.clone_model(model, clone_function=convert)
    clone.set_weights(model.get_weights())
    return clone


def computes_in_float16(model: keras.Model) -> bool:
    """Tell whether a layer computes in float16, whose gradients vanish unless the loss is scaled."""
    return any(layer.compute_dtype == "float16" for layer in layers_inside(model, with_models=True))


def layers_inside(model: Any, *, with_models: bool = False) -> list:
    """Return all layers of a model or a composite layer, also of models inside of it.

    Args:
        model: `keras.Model` or `keras.layers.Layer`.
        with_models: whether the models inside are among them, beside their layers.
    """
    found = _private(model, "_flatten_layers")(include_self=False)
    return [layer for layer in found if with_models or not isinstance(layer, keras.Model)]


def origin(tensor: keras.KerasTensor) -> tuple[Any, list]:
    """Return the operation (a layer, a model, an operation of `keras.ops`) that a tensor comes from, and the
    tensors that it read in that call."""
    operation, node, _ = _private(tensor, "_keras_history")
    return operation, _private(operation, "_inbound_nodes")[node].input_tensors


def num_calls(layer: Any) -> int:
    """Return how often a layer was called: each call has inputs and weights of its own."""
    return len(_private(layer, "_inbound_nodes"))


def call_outputs(layer: Any) -> list[list]:
    """Return the tensors that each call of a layer gave, none for what Keras does not trace."""
    return [node.outputs for node in getattr(layer, "_inbound_nodes", ())]


def readers(layer: Any) -> list:
    """Return the operations that read what a layer gives."""
    return [node.operation for node in _private(layer, "_outbound_nodes")]


def calls(model: keras.Model) -> Iterator:
    """Yield the calls in a functional model, none before those it reads from.

    Each has `operation`, `arguments` (whose `fill_in` puts other tensors in their places) and `outputs`.
    """
    nodes = _private(check_functional(model), "_nodes_by_depth")
    for depth in sorted(nodes, reverse=True):
        yield from (node for node in nodes[depth] if not node.is_input)


def check_functional(model: Any) -> keras.Model:
    """Return a model whose graph can be read.

    Raises:
        TypeError: if it is no `keras.Model`.
        ValueError: if it is a subclass with a `call` of its own, or not built yet.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a keras.Model, got {type(model).__name__}")
    if functional(model) is None:
        raise ValueError(
            f"model {model.name!r} ({type(model).__name__}) has no graph that can be read: it is a subclass "
            "with a call of its own, or not built yet; make a functional keras.Model of its layers"
        )
    return model


def functional(model: keras.Model) -> keras.Model | None:
    """Return the functional model in a `Sequential`, a functional model itself, `None` for a subclass."""
    if isinstance(model, keras.Sequential):
        return _private(model, "_functional")
    return model if hasattr(model, "operations") else None


def pack_outputs(model: keras.Model, tensors: list) -> Any:
    """Return tensors, in the order of `model.outputs`, in the structure that the model returns."""
    return keras.tree.pack_sequence_as(_private(model, "_outputs_struct"), tensors)


def run_through(
    model: keras.Model,
    inputs: Any,
    operation_fn: Callable[[Any], Any],
    call_fn: Callable[..., Any],
) -> Any:
    """Run other tensors through a functional model.

    Args:
        model: functional `keras.Model`.
        inputs: tensors in any structure, in the order of `model.inputs`.
        operation_fn: function of an operation that returns the one to call in its place.
        call_fn: function `(operation, *args, **kwargs)` that calls it.
    """
    structure = _private(check_functional(model), "_inputs_struct")
    inputs = keras.tree.pack_sequence_as(structure, keras.tree.flatten(inputs))
    return _private(model, "_run_through_graph")(inputs, operation_fn=operation_fn, call_fn=call_fn)


def owns_variables(layer: Any) -> bool:
    """Tell whether a layer has variables that belong to none of the layers inside of it."""
    return bool(_private(layer, "_trainable_variables") or _private(layer, "_non_trainable_variables"))


def has_layers_inside(layer: Any) -> bool:
    """Tell whether a layer is made of other layers."""
    return bool(_private(layer, "_layers"))


def start_at_epoch(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` that has begun start with another epoch; `None` once it has."""
    _private(model, "_initial_epoch")
    model._initial_epoch = epoch


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[tuple]:
    """Return `[(variable, its average)]` of an optimizer that keeps moving averages of the weights."""
    averages = _private(optimizer, "_model_variables_moving_average")
    pairs = zip(_private(optimizer, "_trainable_variables"), averages, strict=True)
    return [(variable, average) for variable, average in pairs if average is not None]


def made_without_values(make: Callable[[], Any]) -> tuple[list, Exception | None]:
    """Call a function that makes layers; no memory is taken for their variables.

    Returns:
        `(variables, error)`: all that were made, whatever they belong to, and what the function raised, or
        `None`.
    """
    from keras.src.backend.common import global_state

    name, error = "uninitialized_variables", None
    before = global_state.get_global_attribute(name)
    made: list = []
    global_state.set_global_attribute(name, made)
    try:
        with keras.StatelessScope(initialize_variables=False):
            make()
    except Exception as raised:
        error = raised
    finally:
        global_state.set_global_attribute(name, [] if before is None else before)
    return made, error


def _private(owner, name):
    """Return a private attribute of Keras'.

    Raises:
        RuntimeError: if this version of Keras has no such name.
    """
    try:
        return getattr(owner, name)
    except AttributeError as error:
        raise RuntimeError(
            f"kseg is tested with Keras {TESTED_KERAS}; {type(owner).__name__} of Keras {keras.version()} "
            f"has no {name}: pip install keras=={TESTED_KERAS}"
        ) from error
