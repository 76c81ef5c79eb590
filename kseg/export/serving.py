"""The graph that is exported: float32, for inference, with the output that was asked for."""

import keras
import numpy as np
import tensorflow as tf

from kseg.checks import is_count
from kseg.layers import AuxiliaryOutputs, CropLike, Upsample
from kseg.training import output_activation

OUTPUTS = ("logits", "probabilities", "classes", "fast_classes")


def write_archive(model, path, size, output=None):
    """Write a SavedModel that takes float32 `image` of `size` `(B, H, W)` and gives the model's scores.

    The output is named "logits", "probabilities" or "classes": what the file gives can be read from it.

    Args:
        model: `keras.Model`.
        path: folder.
        size: `(B, H, W)`, any of them `None`.
        output: as for `kseg.export_tflite`.
    """
    module = serving_module(in_float32(model), size, output)
    signatures = {"serving_default": module.serve.get_concrete_function()}
    tf.saved_model.save(module, str(path), signatures=signatures)


def serving_module(model, size, output=None):
    """Return a `tf.Module` whose function `serve` gives the scores of pictures; arguments as above.

    Keras' own archive traces the model thrice and takes three times as long to write.
    """
    function = output_function(model, output)
    signature = tf.TensorSpec((*size, model.input_shape[-1]), tf.float32, name="image")
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.serve = tf.function(lambda image: function(image), input_signature=[signature])
    return module


def output_function(model, output=None):
    """Return the function of a picture batch that gives `{name: what was asked for}`.

    Raises:
        ValueError: for logits of a model that ends in an activation.
    """
    output_kind = "logits" if output_activation(model) is None else "probabilities"
    output = output or output_kind
    if output == output_kind:
        return lambda image: {output_kind: model(image, training=False)}
    if output == "logits":
        raise ValueError(
            f"output='logits': the model ends in {output_activation(model)}; build it with activation=None"
        )
    if output == "probabilities":
        normalize = tf.sigmoid if model.output_shape[-1] == 1 else tf.nn.softmax
        return lambda image: {"probabilities": normalize(model(image, training=False))}
    threshold = 0.0 if output_kind == "logits" else 0.5
    if output == "classes":
        return lambda image: {"classes": _ids(model(image, training=False), threshold)}
    head, factor = before_last_resize(model)
    return lambda image: {"classes": _enlarge(_ids(head(image, training=False), 0.0), factor, image)}


def before_last_resize(model):
    """Return the model up to its last resize, and the resize's factor.

    Raises:
        ValueError: if the scores do not come from a resize at the end.
    """
    last = model.outputs[0]._keras_history.operation
    while isinstance(last, AuxiliaryOutputs | CropLike | keras.layers.Activation | keras.layers.Softmax):
        last = last._inbound_nodes[0].input_tensors[0]._keras_history.operation
    if not isinstance(last, Upsample):
        raise ValueError(
            f"output='fast_classes' takes the classes before the last resize, but model {model.name!r} does "
            "not end in one; use output='classes'"
        )
    return keras.Model(model.input, last._inbound_nodes[0].input_tensors[0]), last.factor


def _ids(scores, threshold):
    if scores.shape[-1] == 1:
        return tf.cast(scores[..., 0] > threshold, tf.int32)
    return tf.argmax(scores, -1, output_type=tf.int32)  # keras.ops.argmax brings an operator phones lack


def _enlarge(ids, factor, image):
    """Resize ids `(B, h, w)` to the nearest, and cut them to the picture: LiteRT resizes no integers."""
    rows, columns = (np.arange(side) // factor for side in image.shape[1:3])
    return tf.gather(tf.gather(ids, rows, axis=1), columns, axis=2)


def static_size(model, input_size):
    """Return the `(H, W)` of a file of fixed size.

    Raises:
        ValueError: if it is missing, no size, or not the one of the model.
    """
    fixed = model.input_shape[1:3]
    if input_size is None:
        if None in fixed:
            raise ValueError(
                "input_size=(H, W) is missing: the model takes any size, a file for phones takes one"
            )
        return fixed
    if np.ndim(input_size) != 1 or len(input_size) != 2 or not all(is_count(side) for side in input_size):
        raise ValueError(f"input_size must be (H, W), positive ints, got {input_size!r}")
    if any(have not in (None, want) for have, want in zip(fixed, input_size, strict=True)):
        raise ValueError(f"input_size={tuple(input_size)} is not the size the model was built for, {fixed}")
    return tuple(int(side) for side in input_size)


def layer_names(model):
    """Return the names of all layers, also of those in models inside; first the one that makes the scores."""
    last = model.outputs[0]._keras_history.operation
    while not getattr(last, "weights", ()) and last._inbound_nodes[0].input_tensors:  # keras.ops have none
        last = last._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return list(dict.fromkeys([last.name, *(layer.name for layer in _layers(model))]))


def in_float32(model):
    """Return the model, or a float32 copy of one built under a mixed precision policy."""
    if all(layer.dtype_policy.compute_dtype == "float32" for layer in _layers(model)):
        return model

    def convert(layer):
        config = layer.get_config()
        config["dtype"] = "float32"
        if isinstance(layer, keras.Model):
            return in_float32(layer)
        return layer.__class__.from_config(config)

    clone = keras.models.clone_model(model, clone_function=convert)
    clone.set_weights(model.get_weights())
    return clone


def _layers(model):
    return [
        layer for layer in model._flatten_layers(include_self=False) if not isinstance(layer, keras.Model)
    ]
