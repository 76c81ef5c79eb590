"""The graph that is exported: what is served, for inference, with the output that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kseg.checks import is_count
from kseg.graphs import ModelFacts, before_last_resize
from kseg.quiet import quiet_tensorflow

OUTPUT_KINDS = ("logits", "probabilities", "classes", "fast_classes")


def write_archive(
    model: keras.Model, facts: ModelFacts, path: str, size: tuple, output_kind: str | None = None
) -> None:
    """Write a SavedModel that takes float32 `image` of `size` `(B, H, W)` and gives the model's scores.

    The output is named "logits", "probabilities" or "classes": what the file gives can be read from it.

    Args:
        model: float32 `keras.Model` that is served.
        facts: of the user's model, whose scores it gives.
        path: folder.
        size: `(B, H, W)`, any of them `None`.
        output_kind: as for `kseg.export_tflite`.
    """
    module = serving_module(model, facts, size, output_kind)
    signatures = {"serving_default": module.serve.get_concrete_function()}
    with quiet_tensorflow():
        tf.saved_model.save(module, str(path), signatures=signatures)


def serving_module(
    model: keras.Model, facts: ModelFacts, size: tuple, output_kind: str | None = None
) -> tf.Module:
    """Return a `tf.Module` whose function `serve` gives the scores of pictures; arguments as above.

    Keras' own archive traces the model thrice and takes three times as long to write.
    """
    function = output_function(model, facts, output_kind)
    signature = tf.TensorSpec((*size, facts.channels), tf.float32, name="image")
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    module.serve = tf.function(lambda image: function(image), input_signature=[signature])
    # those that a layer of the user's own hides from Keras as well
    module.variables_of_graph = module.serve.get_concrete_function().graph.variables
    return module


def output_function(model: keras.Model, facts: ModelFacts, output_kind: str | None = None) -> Callable:
    """Return the function of a picture batch that gives `{name: what was asked for}`; arguments as above.

    Raises:
        ValueError: for logits of a model that ends in an activation; for anything but ids of a model that
            gives ids.
    """
    own = facts.output_kind
    output_kind = output_kind or own
    if own == "classes":
        if output_kind != own:
            raise ValueError(
                f"{output_kind=}: the model takes the arg-max itself and gives class ids, which tell no "
                "scores; leave output_kind out, or export the model without its arg-max"
            )
        return lambda image: {"classes": _without_channel(model(image, training=False))}
    if output_kind == own:
        return lambda image: {own: model(image, training=False)}
    if facts.multilabel and output_kind in ("classes", "fast_classes"):
        raise ValueError(
            f"{output_kind=}: a pixel may have several labels, no one class; use output_kind='probabilities'"
        )
    if output_kind == "logits":
        raise ValueError(
            f"output_kind='logits': the model ends in {facts.activation}; build it with activation=None"
        )
    if output_kind == "probabilities":
        normalize = tf.sigmoid if facts.num_scores == 1 or facts.multilabel else tf.nn.softmax
        return lambda image: {"probabilities": normalize(model(image, training=False))}
    if output_kind == "classes":
        threshold = 0.0 if own == "logits" else 0.5
        return lambda image: {"classes": class_ids(model(image, training=False), threshold)}
    head, factor = before_last_resize(model)
    return lambda image: {"classes": _enlarge(class_ids(head(image, training=False), 0.0), factor, image)}


def class_ids(scores: tf.Tensor, threshold: float, multilabel: bool = False) -> tf.Tensor:
    """Return int32 ids `(B, H, W)` of scores; one channel, or each label, is on above the threshold."""
    if multilabel:
        return tf.cast(scores > threshold, tf.int32)
    if scores.shape[-1] == 1:
        return tf.cast(scores[..., 0] > threshold, tf.int32)
    return tf.argmax(scores, -1, output_type=tf.int32)  # keras.ops.argmax brings an operator phones lack


def _without_channel(ids):
    """Return int32 ids `(B, H, W)` of `(B, H, W)` or `(B, H, W, 1)`."""
    return tf.cast(ids[..., 0] if ids.shape.rank == 4 else ids, tf.int32)


def _enlarge(ids, factor, image):
    """Resize ids `(B, h, w)` to the nearest, and cut them to the picture: LiteRT resizes no integers."""
    rows, columns = (np.arange(side) // factor for side in image.shape[1:3])
    return tf.gather(tf.gather(ids, rows, axis=1), columns, axis=2)


def static_size(facts: ModelFacts, input_size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the `(H, W)` of a file of fixed size.

    Raises:
        ValueError: if it is missing, no size, or not the one of the model.
    """
    fixed = facts.input_size
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
    return int(input_size[0]), int(input_size[1])
