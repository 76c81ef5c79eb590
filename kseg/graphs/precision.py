"""In which precision a model computes, and its copy in float32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kseg.graphs.keras_graph import layers_inside, private

_HALVES = ("float16", "bfloat16")


def in_float32(model: keras.Model) -> keras.Model:
    """Return the model, or a float32 copy of one built under a mixed precision policy.

    Layers come whole: with their variables, with what they compute from them (`Normalization`), and layers
    of the user's own with the attributes that their config leaves out.

    Raises:
        ValueError: if a layer cannot be rebuilt from its config; it is named.
    """
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in layers_inside(model)):
        return model
    pairs = []

    def convert(operation):
        if not isinstance(operation, keras.Layer):
            return operation.__class__.from_config(operation.get_config())
        copy = in_float32(operation) if isinstance(operation, keras.Model) else _rebuilt(operation)
        if copy is not operation:
            pairs.append((operation, copy))
        return copy

    def call(operation, *args, **kwargs):
        with _named(operation):
            return operation(*args, **kwargs)

    plain = keras.Model(model.input, model.output, name=model.name)  # how it was compiled is not copied
    with _float32_policy():
        clone = keras.models.clone_model(plain, clone_function=convert, call_function=call)
    for layer, copy in pairs:
        if not isinstance(layer, keras.Model):  # those inside were brought when they were copied
            _bring_state(layer, copy)
    return clone


def half_precision(model: keras.Model) -> str | None:
    """Return `"float16"` or `"bfloat16"`, the coarsest that a layer computes in; `None` if none does."""
    found = {layer.compute_dtype for layer in layers_inside(model)}
    return next((each for each in reversed(_HALVES) if each in found), None)


def computes_in_float16(model: keras.Model) -> bool:
    """Tell whether a layer computes in float16, whose gradients vanish unless the loss is scaled."""
    return any(layer.compute_dtype == "float16" for layer in layers_inside(model, with_models=True))


@contextlib.contextmanager
def _float32_policy() -> Iterator[None]:
    """Let layers that a composite layer makes for itself compute in float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _named(layer: Any) -> Iterator[None]:
    """Raise whatever a layer makes of its own config as an error that names it."""
    try:
        yield
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be copied in float32, which files compute "
            f"in, its get_config does not rebuild it ({reason[0]}): mend its get_config, or build the model "
            "under the policy 'float32' and take the weights over by kseg.copy_weights"
        ) from error


def _rebuilt(layer):
    """Return a copy of a layer in float32, not yet built."""
    with _named(layer):
        config = {**layer.get_config(), "dtype": "float32"}
        if isinstance(layer, keras.layers.Lambda):  # Keras builds none from the code in a config
            for name in ("function", "mask", "arguments"):
                config[name] = getattr(layer, name)
            config["output_shape"] = private(layer, "_output_shape")
            copy = layer.__class__(**config)
        else:
            copy = layer.__class__.from_config(config)
    for name, value in _attributes(layer).items():
        if name not in vars(copy):
            setattr(copy, name, value)
    return copy


def _bring_state(layer, copy):
    """Give a built copy, and the layers inside of it, what the layer has beside its config."""
    parts, copies = ([each, *layers_inside(each, with_models=True)] for each in (layer, copy))
    with _named(layer):
        for part, own in zip(parts, copies, strict=True):
            own.dtype_policy = "float32"  # a config may hold the policies of layers inside
            for name, value in _attributes(part).items():
                setattr(own, name, value)
            state: dict[str, Any] = {}
            part.save_own_variables(state)
            own.load_own_variables({name: np.asarray(value) for name, value in state.items()})


def _attributes(layer):
    """Return what a layer of the user's own keeps beside layers and variables; Keras' own keep no more."""
    if type(layer).__module__.split(".")[0] in ("keras", "kseg"):
        return {}
    usual = vars(keras.Layer())
    # `_self_...` is what TensorFlow tracks variables by
    own = {
        name: value
        for name, value in vars(layer).items()
        if name not in usual and not name.startswith("_self_")
    }
    return {name: keras.tree.map_structure(_widened, value) for name, value in own.items() if _is_kept(value)}


def _is_kept(value):
    """Tell whether a value is the same in another precision: no layer, no variable, no precision's name."""
    for leaf in keras.tree.flatten(value):
        if isinstance(leaf, keras.Layer | keras.Variable | keras.KerasTensor | keras.DTypePolicy):
            return False
        if hasattr(leaf, "__self__") or (isinstance(leaf, str) and leaf.removeprefix("mixed_") in _HALVES):
            return False
    return True


def _widened(leaf):
    """Return an array or a tensor of half precision in float32."""
    if str(getattr(getattr(leaf, "dtype", None), "name", "")) in _HALVES:
        return np.asarray(leaf).astype("float32")
    return leaf
