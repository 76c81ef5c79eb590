"""The one place where a batch goes through the model that is evaluated."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from kseg.inference import Predictor, Runner, as_probabilities, collapse

_AT_ONCE = 8192  # pixels


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
        checked: whether pictures are known to hold 0–255, as those that were read by a range do.
    """

    def __init__(self, predictor: Predictor, checked: bool = False) -> None:
        self.predictor, self.checked = predictor, checked
        runner = self.runner = dataclasses.replace(predictor.runner, pixels_checked=checked)
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
        return Judged(ids, None if scores is None else self._confidence(scores, ids), seconds)

    def _by_predictor(self, images):
        """Run pictures by windows, views or several models."""
        start = time.perf_counter()
        kinds = ["classes"] if self._scored is None else ["classes", "confidence"]
        found = self.predictor.results(images if self.checked else self.predictor.checked(images), kinds)
        seconds = (time.perf_counter() - start) / max(len(images), 1)
        return Judged(found["classes"].astype("int64"), found.get("confidence"), seconds)

    def _confidence(self, scores, ids):
        if self._scored is None:
            return None
        if scores.shape[-1] > 1 and not self._scored.multilabel:
            return _of_chosen(scores, ids, self._scored.from_logits)
        found = as_probabilities(scores, self._scored.from_logits, self._scored.multilabel)
        return np.maximum(found, 1 - found) if self._scored.multilabel else found.max(-1)


def _of_chosen(scores, ids, from_logits):
    """Return the probability of the chosen class, as `as_probabilities` has it, float32 `(B, H, W)`.

    Some thousand pixels at a time stay in the cache of the processor: a quarter of the time of a softmax.
    """
    rows, chosen = scores.reshape(-1, scores.shape[-1]), ids.ravel()
    found, ones = np.empty(len(rows), "float32"), np.ones(rows.shape[-1], "float32")
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE].astype("float32", copy=False)
        at = np.arange(len(part)), chosen[start : start + _AT_ONCE]
        if from_logits:
            shares, top = np.exp(part - part[at][:, None]), np.float32(1)
        else:
            shares = np.maximum(part, 1e-7)
            top = shares[at]
        found[start : start + _AT_ONCE] = top / (shares @ ones)
    return found.reshape(ids.shape)
