"""In which precision a model computes, and its copy in float32."""

from __future__ import annotations

import keras

from kseg.graphs.keras_graph import layers_inside


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
