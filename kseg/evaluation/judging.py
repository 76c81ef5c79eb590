"""The one place where a batch goes through the model that is evaluated."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kseg.inference import Predictor, Runner, as_probabilities, collapse


@dataclass(frozen=True)
class Judged:
    """What a model makes of a batch.

    Attributes:
        ids: class ids `(B, H, W)` at the size of the pictures, or labels 0 and 1 `(B, H, W, C)`.
        confidence: float32 in the shape of `ids`, the probability of what was predicted; `None` where the
            model gives none.
        seconds: float, the time of the model per picture.
    """

    ids: np.ndarray
    confidence: np.ndarray | None
    seconds: float


class Judge:
    """A model that judges batches: ids and confidence of one run.

    Args:
        predictor: the model, or several that are averaged, and how a picture goes through them.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.runner = predictor, predictor.runner
        runner = self.runner
        self._scored: Runner | None = None  # knows whether its scores are logits
        if runner.output_kind != "classes":
            with contextlib.suppress(ValueError):  # logits or probabilities, which nothing tells
                self._scored = runner.settled(scores=True)

    def __call__(self, images: np.ndarray) -> Judged:
        """Run pictures `(B, H, W, C)` once."""
        predictor = self.predictor
        if not predictor.plain or predictor.crf is not None or predictor.windows_for(images.shape[1:3]):
            return self._by_predictor(images)
        runner, start, scores = self.runner, time.perf_counter(), None
        if runner.output_kind == "classes":
            ids = runner.ids(images)
        else:
            scores = runner.scores(images)
            ids = collapse(scores, runner.from_logits, runner.multilabel)
        seconds = (time.perf_counter() - start) / max(len(images), 1)
        return Judged(ids, None if scores is None else self._confidence(scores), seconds)

    def _by_predictor(self, images):
        """Run pictures by windows, views or several models."""
        start = time.perf_counter()
        kinds = ["classes"] if self._scored is None else ["classes", "confidence"]
        found = self.predictor.results(images, kinds)
        seconds = (time.perf_counter() - start) / max(len(images), 1)
        return Judged(found["classes"].astype("int64"), found.get("confidence"), seconds)

    def _confidence(self, scores):
        if self._scored is None:
            return None
        found = as_probabilities(scores, self._scored.from_logits, self._scored.multilabel)
        if self._scored.multilabel:
            return np.maximum(found, 1 - found)
        return tf.reduce_max(found, -1).numpy()  # NumPy takes several times as long along a short axis
