"""Whether losses and metrics fit what a model gives: logits or probabilities, one class or several labels."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from kseg.graphs import ModelFacts, function_name, losses_inside
from kseg.losses import CrossEntropy, Focal, OhemCrossEntropy
from kseg.losses.base import MaskLoss
from kseg.losses.combining import Combinable
from kseg.metrics.reading import MaskMetric

_OF_ONE_CLASS = (CrossEntropy, OhemCrossEntropy, Focal)  # they look at the pixel's own class alone
# Keras' losses that take probabilities and have no argument that says so.
_OF_PROBABILITIES = frozenset(
    [
        "categorical_generalized_cross_entropy",
        "dice",
        "kl_divergence",
        "mean_squared_logarithmic_error",
        "poisson",
        "tversky",
    ]
)
_ACCURACIES = frozenset(["accuracy", "acc"])
_SPARSE = (keras.metrics.SparseCategoricalAccuracy, keras.metrics.SparseTopKCategoricalAccuracy)
_THRESHOLDS = (
    keras.metrics.AUC,
    keras.metrics.Precision,
    keras.metrics.Recall,
    keras.metrics.TruePositives,
    keras.metrics.TrueNegatives,
    keras.metrics.FalsePositives,
    keras.metrics.FalseNegatives,
)


def only_one(value: Any, argument: str) -> Any:
    """Return the value in a list, tuple or dict of one, else the value.

    Raises:
        ValueError: for a list, tuple or dict of several or none.
    """
    if not isinstance(value, list | tuple | Mapping):
        return value
    values = list(value.values() if isinstance(value, Mapping) else value)
    if len(values) != 1:
        raise ValueError(
            f"{argument} holds {len(values)}, the model has one output: give one, or a sum such as "
            "CrossEntropy() + Dice()"
        )
    return values[0]


def check_loss(loss: Any, facts: ModelFacts) -> None:
    """Raise `ValueError` unless a loss, and each part of it, fits the scores."""
    if facts.activation == "softmax" and facts.num_scores == 1:
        raise ValueError("softmax over one channel is always 1; use sigmoid or None, or two classes")
    for part in losses_inside(keras.losses.get(loss)):
        _check_part(part, facts)


def _check_part(part, facts):
    name = repr(getattr(part, "name", None) or getattr(part, "__name__", part))
    if isinstance(part, MaskLoss) or (facts.multilabel and not isinstance(part, Combinable)):
        _check_labels(f"loss {name}", part, facts)
    several = facts.num_scores > 1 and not facts.multilabel
    if isinstance(part, _OF_ONE_CLASS) and facts.activation == "sigmoid" and several:
        raise ValueError(
            f"cross-entropy on sigmoid trains every one of the {facts.num_scores} channels to 1; use softmax "
            "or None, another loss, or multilabel=True where a pixel may have several labels"
        )
    if facts.activation is None and function_name(part) in _OF_PROBABILITIES:
        raise ValueError(
            f"loss {name} of Keras takes probabilities, but the model gives logits; build it with "
            "activation='softmax' or 'sigmoid', or take a loss of kseg.losses"
        )
    _check_from_logits(f"loss {name}", _from_logits(part), facts)


def _check_labels(what, part, facts):
    multilabel = getattr(part, "multilabel", False)
    if multilabel != facts.multilabel:
        raise ValueError(
            f"{what} has multilabel={multilabel}, kseg.compile has multilabel={facts.multilabel}: set both "
            "alike (a loss of your own says it by an attribute of that name, which predict reads)"
        )


def _check_from_logits(what, expects, facts):
    from_logits = facts.activation is None
    if expects not in (None, from_logits):
        output_kind = "logits" if from_logits else "probabilities"
        raise ValueError(
            f"{what} has from_logits={expects}, but the model gives {output_kind}; set "
            f"from_logits={from_logits}"
        )


def _from_logits(loss):
    """Return what a loss expects, `None` if it does not say. A function says it by the argument's default."""
    if hasattr(loss, "from_logits"):
        return loss.from_logits
    if not callable(loss):
        return None
    argument = inspect.signature(loss).parameters.get("from_logits")
    default = None if argument is None else argument.default
    return default if isinstance(default, bool) else None


def fitting_metrics(metrics: Any, facts: ModelFacts, accuracy: MaskMetric) -> Any:
    """Return metrics, in the structure they came in, with `accuracy` for Keras' word for it.

    Raises:
        ValueError: for metrics that read other scores than the model gives.
    """
    if isinstance(metrics, Mapping):
        return {key: fitting_metrics(each, facts, accuracy) for key, each in metrics.items()}
    if isinstance(metrics, list | tuple):
        return [fitting_metrics(each, facts, accuracy) for each in metrics]
    if isinstance(metrics, str) and metrics in _ACCURACIES:
        return accuracy
    if isinstance(metrics, MaskMetric):
        _check_mask_metric(metrics, facts)
    else:
        _check_metric(keras.metrics.get(metrics), facts, accuracy.ignore_class)
    return metrics


def _check_mask_metric(metric, facts):
    what = f"metric {metric.name!r}"
    _check_labels(what, metric, facts)
    if facts.num_scores == 1 or facts.multilabel:  # else the arg-max is the same
        _check_from_logits(what, metric.from_logits, facts)


def _check_metric(metric, facts, ignore_class):
    """Raise for a metric of Keras' that is wrong for masks; one of the user's own is his affair."""
    name = getattr(metric, "name", None) or getattr(metric, "__name__", metric)
    what, function = f"metric {name!r} of Keras", function_name(metric)
    sparse = isinstance(metric, _SPARSE) and facts.num_scores > 1 and ignore_class is None
    if (isinstance(metric, keras.metrics.Accuracy) or function.endswith("accuracy")) and not sparse:
        raise ValueError(
            f"{what} counts void and does not know one channel of logits; take kseg.metrics.PixelAccuracy"
        )
    if type(metric) in (keras.metrics.MeanIoU, keras.metrics.IoU) and metric.sparse_y_pred:
        raise ValueError(f"{what} takes predicted ids, but the model gives scores; take kseg.metrics.MeanIoU")
    thresholds = isinstance(metric, _THRESHOLDS) and not metric.get_config().get("from_logits")
    if facts.activation is None and (thresholds or function in _OF_PROBABILITIES):
        raise ValueError(f"{what} takes probabilities, but the model gives logits; take one of kseg.metrics")
    if function:
        _check_from_logits(what, _from_logits(metric), facts)
