"""Scores read: as ids, as probabilities, and refined by the dense CRF."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.checks import unknown_name


def ids_type(num_classes: int) -> str:
    """Return the smallest unsigned type that holds the ids of so many classes."""
    return "uint8" if num_classes <= 2**8 else "uint16" if num_classes <= 2**16 else "uint32"


def collapse(scores: np.ndarray, from_logits: bool, multilabel: bool = False) -> np.ndarray:
    """Return the class ids of NumPy scores; one channel, or each label, is on above its threshold."""
    threshold = 0 if from_logits else 0.5
    if multilabel:
        return (scores > threshold).astype("int64")
    return (scores[..., 0] > threshold).astype("int64") if scores.shape[-1] == 1 else scores.argmax(-1)


def as_probabilities(scores: np.ndarray, from_logits: bool, multilabel: bool = False) -> np.ndarray:
    """Return float32 probabilities of NumPy scores, which sum to 1; one channel becomes two classes.

    With several labels per pixel each channel has its own, and they do not sum to 1.
    """
    if multilabel or scores.shape[-1] == 1:
        one = tf.sigmoid(scores).numpy() if from_logits else np.clip(scores, 0, 1)
        return one if multilabel else np.concatenate([1 - one, one], -1)
    if from_logits:
        return tf.nn.softmax(scores).numpy()
    scores = np.maximum(scores, 1e-7)  # one sigmoid per class, or int8: they need not sum to 1
    return scores / scores.sum(-1, keepdims=True)


def crf_arguments(crf: bool | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the arguments of `dense_crf` for a `crf` as given to `predict`, or `None` for none.

    Raises:
        TypeError: if `crf` is neither a bool nor a dict.
        ValueError: for a name that `dense_crf` does not have.
    """
    if crf is None or isinstance(crf, bool):
        return {} if crf else None
    if not isinstance(crf, dict):
        raise TypeError(f"crf must be True, False or a dict of dense_crf's arguments, got {crf!r}")
    from kseg.crf import dense_crf

    parameters = inspect.signature(dense_crf).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in crf:
        if name not in known:
            raise unknown_name("argument in crf", name, known)
    return crf
