"""A model opened for inference, and what becomes of its scores."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.checks import unknown_name


@dataclass(frozen=True)
class Runner:
    """A model opened for inference.

    Attributes:
        run: function `(B, H, W, C)` float32 0–255 → float32 `(B, h, w, num_classes)`, or ids `(B, h, w)`.
        input_size: `(H, W)` the model is fixed to, or `None` for any.
        channels: int, C.
        output_kind: `"logits"`, `"probabilities"` or `"classes"`, what `run` returns.
        num_classes: int, channels of the scores, or `None` where `run` returns ids.
        scores_only_centre: whether the scores are those of the middle of the picture.
    """

    run: Callable[[np.ndarray], np.ndarray]
    input_size: tuple[int, int] | None
    channels: int
    output_kind: str
    num_classes: int | None
    scores_only_centre: bool = False

    @property
    def from_logits(self) -> bool:
        """Whether `run` gives logits."""
        return self.output_kind == "logits"

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; scores come back at their size, `(B, H, W, classes)`."""
        if self.output_kind == "classes":
            raise ValueError(
                "the file gives class ids alone, no scores: export it with output_kind='logits' for that"
            )
        scores, size = self._run_at_own_size(images), images.shape[1:3]
        return scores if scores.shape[1:3] == size else tf.image.resize(scores, size).numpy()

    def ids(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; return class ids `(B, H, W)` at their size."""
        if self.output_kind != "classes":
            return collapse(self.scores(images), self.from_logits)
        ids, size = self._run_at_own_size(images)[..., None], images.shape[1:3]
        return (ids if ids.shape[1:3] == size else tf.image.resize(ids, size, "nearest").numpy())[..., 0]

    def _run_at_own_size(self, images):
        images = np.asarray(images, "float32")
        if self.input_size not in (None, images.shape[1:3]):
            images = tf.image.resize(images, self.input_size, antialias=True).numpy()
        return self.run(images)

    def masks(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return uint8 class ids `(B, H, W)`; `crf` is as for `predict`."""
        self._check_whole()
        if crf_arguments(crf) is None:
            return self.ids(images).astype("uint8")
        return self.probabilities(images, crf).argmax(-1).astype("uint8")

    def probabilities(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return float32 probabilities `(B, H, W, classes)`, two of one channel; `crf` as for `predict`."""
        self._check_whole()
        found, arguments = as_probabilities(self.scores(images), self.from_logits), crf_arguments(crf)
        if arguments is None:
            return found
        from kseg.crf import dense_crf  # loads SciPy, which only the CRF needs

        pairs = zip(found, images, strict=True)
        return np.stack([dense_crf(each, image, **arguments) for each, image in pairs])

    def _check_whole(self):
        if self.scores_only_centre:
            raise ValueError(
                "the model scores the middle of its picture alone (padding='valid'): call it yourself, or "
                "build it with padding='same'"
            )


def collapse(scores: np.ndarray, from_logits: bool) -> np.ndarray:
    """Return the class ids of NumPy scores; one channel is class 1 above its threshold."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > (0 if from_logits else 0.5)).astype("int64")
    return scores.argmax(-1)


def as_probabilities(scores: np.ndarray, from_logits: bool) -> np.ndarray:
    """Return float32 probabilities of NumPy scores, which sum to 1; one channel becomes two classes."""
    if scores.shape[-1] == 1:
        one = tf.sigmoid(scores).numpy() if from_logits else np.clip(scores, 0, 1)
        return np.concatenate([1 - one, one], -1)
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
