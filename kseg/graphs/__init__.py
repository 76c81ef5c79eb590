"""Every question to a Keras graph: what made a tensor, which layers are inside, the facts of a model.

Keras' private names are asked for in `keras_graph.py` and `kseg.distribution.keras_trainer` alone, and what a
version of Keras lacks is named. What a layer does to scores it says itself, by its attributes `keeps_scores`,
`auxiliary_heads`, `scores_only_centre`, `enlarges_scores` and `rounds_indices`, what it knows of files by
`value_range`: this room knows no layer of kseg's.
"""

from kseg.graphs.facts import (
    ACTIVATIONS,
    ModelFacts,
    judged_kind,
    losses_inside,
    trained_multilabel,
)
from kseg.graphs.keras_graph import (
    TESTED_KERAS,
    batch_statistics,
    calls,
    calls_of,
    check_functional,
    function_name,
    functional,
    has_layers_inside,
    layers_inside,
    made_without_values,
    moving_averages,
    origin,
    owns_variables,
    pack_outputs,
    readers,
    run_through,
    start_at_epoch,
    tell_batch_statistics,
)
from kseg.graphs.named_layers import encoder_layers, layer_names, score_layer
from kseg.graphs.one_picture import one_picture
from kseg.graphs.precision import computes_in_float16, half_precision, in_float32
from kseg.graphs.scores import before_last_resize, has_auxiliary_heads

__all__ = [
    "ACTIVATIONS",
    "TESTED_KERAS",
    "ModelFacts",
    "batch_statistics",
    "before_last_resize",
    "calls",
    "calls_of",
    "check_functional",
    "computes_in_float16",
    "encoder_layers",
    "function_name",
    "functional",
    "half_precision",
    "has_auxiliary_heads",
    "has_layers_inside",
    "in_float32",
    "judged_kind",
    "layer_names",
    "layers_inside",
    "losses_inside",
    "made_without_values",
    "moving_averages",
    "one_picture",
    "origin",
    "owns_variables",
    "pack_outputs",
    "readers",
    "run_through",
    "score_layer",
    "start_at_epoch",
    "tell_batch_statistics",
    "trained_multilabel",
]
