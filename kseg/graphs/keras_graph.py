"""What Keras knows of a graph: what made a tensor, which layers are inside; its private names stand here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

TESTED_KERAS = "3.15.1"  # whose private names stand here and in `kseg.distribution.keras_trainer`


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
        return private(model, "_functional")
    return model if hasattr(model, "operations") else None


def origin(tensor: keras.KerasTensor) -> tuple[Any, list]:
    """Return the operation (a layer, a model, an operation of `keras.ops`) that a tensor comes from, and the
    tensors that it read in that call."""
    operation, node, _ = private(tensor, "_keras_history")
    return operation, private(operation, "_inbound_nodes")[node].input_tensors


def calls(model: keras.Model) -> Iterator:
    """Yield the calls in a functional model, none before those it reads from.

    Each has `operation`, `input_tensors`, `outputs` and `arguments` (whose `fill_in` puts other tensors in
    their places).
    """
    nodes = private(functional(check_functional(model)), "_nodes_by_depth")
    for depth in sorted(nodes, reverse=True):
        yield from (node for node in nodes[depth] if not node.is_input)


def position(tensor: keras.KerasTensor) -> int:
    """Return the place of a tensor among those that its operation gave in that call."""
    return private(tensor, "_keras_history").tensor_index


def arguments_of(tensor: keras.KerasTensor, values: Sequence[Any]) -> tuple[tuple, dict]:
    """Return `(args, kwargs)` of the call that made a tensor, with `values` in the places of its inputs."""
    operation, node, _ = private(tensor, "_keras_history")
    call = private(operation, "_inbound_nodes")[node]
    return call.arguments.fill_in(dict(zip(map(id, call.input_tensors), values, strict=True)))


def built_shape(layer: Any) -> tuple | None:
    """Return the shape of the one tensor that a layer was built for, `None` if it is not built."""
    shape = (layer.get_build_config() or {}).get("input_shape") if layer.built else None
    return tuple(shape) if isinstance(shape, tuple | list) else None


def takes_apart(model: keras.Model) -> bool:
    """Tell whether a functional model packs its outputs in a list or a dict."""
    return not isinstance(private(functional(model), "_outputs_struct"), keras.KerasTensor)


def calls_of(model: keras.Model, layer: Any) -> list:
    """Return the calls of a layer in a functional model, as `calls` yields them.

    A layer may be called in other models too, which says nothing of this one.
    """
    return [call for call in calls(model) if call.operation is layer]


def readers(model: keras.Model, layer: Any) -> list:
    """Return the operations of a functional model that read what a layer gives."""
    found = [call for call in calls(model) if any(origin(each)[0] is layer for each in call.input_tensors)]
    return [call.operation for call in found]


def layers_inside(model: Any, *, with_models: bool = False) -> list:
    """Return all layers of a model or a composite layer, also of models inside of it.

    Args:
        model: `keras.Model` or `keras.layers.Layer`.
        with_models: whether the models inside are among them, beside their layers.
    """
    found = private(model, "_flatten_layers")(include_self=False)
    return [layer for layer in found if with_models or not isinstance(layer, keras.Model)]


def has_layers_inside(layer: Any) -> bool:
    """Tell whether a layer is made of other layers."""
    return bool(private(layer, "_layers"))


def owns_variables(layer: Any) -> bool:
    """Tell whether a layer has variables that belong to none of the layers inside of it."""
    return bool(private(layer, "_trainable_variables") or private(layer, "_non_trainable_variables"))


def pack_outputs(model: keras.Model, tensors: list) -> Any:
    """Return tensors, in the order of `model.outputs`, in the structure that the model returns."""
    return keras.tree.pack_sequence_as(private(model, "_outputs_struct"), tensors)


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
    structure = private(check_functional(model), "_inputs_struct")
    inputs = keras.tree.pack_sequence_as(structure, keras.tree.flatten(inputs))
    return private(model, "_run_through_graph")(inputs, operation_fn=operation_fn, call_fn=call_fn)


def function_name(loss_or_metric: Any) -> str:
    """Return the name of the function of Keras' that a loss or metric is or calls, "" of one of others."""
    function = getattr(loss_or_metric, "fn", None) or getattr(loss_or_metric, "_fn", None) or loss_or_metric
    of_keras = str(getattr(function, "__module__", "")).startswith("keras.")
    return getattr(function, "__name__", "") if of_keras else ""


def start_at_epoch(model: keras.Model, epoch: int | None) -> None:
    """Let the `fit` that has begun start with another epoch; `None` once it has."""
    private(model, "_initial_epoch")
    model._initial_epoch = epoch


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[tuple]:
    """Return `[(variable, its average)]` of an optimizer that keeps moving averages of the weights.

    Those of kseg keep them of batch statistics too.
    """
    averages = private(optimizer, "_model_variables_moving_average")
    pairs = zip(private(optimizer, "_trainable_variables"), averages, strict=True)
    of_weights = [(variable, average) for variable, average in pairs if average is not None]
    return of_weights + getattr(optimizer, "averaged_statistics", [])


def tell_batch_statistics(layer: keras.Layer) -> None:
    """Let the weights of a batch normalisation tell its statistics: an optimizer sees weights alone."""
    for weight in layer.trainable_weights:
        weight.batch_statistics = (layer.moving_mean, layer.moving_variance)


def batch_statistics(variables: Sequence[Any]) -> list[Any]:
    """Return the moving means and variances that belong to trainable variables, each once."""
    statistics = {id(s): s for v in variables for s in getattr(v, "batch_statistics", ())}
    return list(statistics.values())


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


def private(owner: Any, name: str) -> Any:
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
