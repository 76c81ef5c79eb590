"""What a file gives beside what the Keras model gives, summed over pictures."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from kseg.export.serving import output_function
from kseg.graphs import ModelFacts
from kseg.inference import Runner, collapse, open_model
from kseg.metrics import Confusion, LabelCounts
from kseg.pictures import scaled
from kseg.types import IgnoreClass, PathLike

if TYPE_CHECKING:
    from kseg.export.verification import Tolerance

_IDS = 255  # that a byte tells apart beside void
_LOOSER = 10  # times as many pixels may change where no score tells which of them are close


class Reference:
    """What a Keras model gives for a picture, in the kind that the file gives.

    Args:
        model: the user's own, or its float32 copy.
        facts: of the user's.
        output_kind: as for `kseg.export_tflite`.
        written: `Runner` of the file.

    Call arguments:
        image: `(1, H, W, C)` of values 0–255.

    Returns:
        Scores, or ids of a model that gives ids; and the ids that the file's must equal, `None` if they are
        those of the scores.
    """

    def __init__(
        self, model: keras.Model, facts: ModelFacts, output_kind: str | None, written: Runner
    ) -> None:
        self.runner, self.written = _runner_of(model, facts), written
        self.fast = None
        if output_kind == "fast_classes":
            self.fast = tf.function(output_function(model, facts, output_kind))

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self.runner.output_kind == "classes":
            ids = self.runner.run(scaled(image, None))
            return ids[..., 0] if ids.ndim == 4 else ids, None
        scores = self.runner.scores(image)
        if self.written.output_kind == "probabilities" and self.runner.from_logits:
            sigmoid = scores.shape[-1] == 1 or self.written.multilabel
            scores = (tf.sigmoid if sigmoid else tf.nn.softmax)(scores).numpy()
        return scores, None if self.fast is None else self.fast(scaled(image, None))["classes"].numpy()


def _runner_of(model, facts):
    """Return the runner of the user's model, or of a copy, with what the user stated."""
    stated = facts.stated if facts.found is None else None
    return open_model(model, activation=stated, multilabel=facts.multilabel)


class Comparison:
    """Sums over pictures of how two sets of scores differ, or scores and class ids, or ids alone.

    Args:
        tolerance: what they may differ by.
        written: `Runner` of the file.
        looser: whether close pixels may change class although nothing tells which are close.
    """

    def __init__(self, tolerance: Tolerance, written: Runner, looser: bool = False) -> None:
        self.tolerance, self.looser = tolerance, looser
        self.from_logits = written.output_kind != "probabilities"
        self.multilabel = written.multilabel
        self.pixels = self.same = self.decided = self.decided_same = 0
        self.low, self.high, self.largest_difference = np.inf, -np.inf, 0.0
        self.confusions: list[Confusion] | list[LabelCounts] | None = None
        self.finite = self.by_margin = True

    @property
    def range(self) -> float:
        """Largest minus smallest score of the Keras model, 0 where it gives ids."""
        return max(float(self.high - self.low), 0.0)

    def add(
        self,
        expected: np.ndarray,
        expected_ids: np.ndarray | None,
        actual: np.ndarray,
        mask: np.ndarray | None,
        ignore_class: IgnoreClass,
    ) -> None:
        """Add a picture.

        Args:
            expected: the Keras model's scores, or ids (one axis less).
            expected_ids: ids that the file's must equal, if not the ids of `expected`.
            actual: the file's scores, or its ids.
            mask: true ids or `None`.
            ignore_class: void.
        """
        before, after = expected, actual
        decided = np.ones(expected.shape if self.multilabel else expected.shape[:3], bool)
        if expected.ndim == 4:
            self.low, self.high = min(self.low, expected.min()), max(self.high, expected.max())
            before = collapse(expected, self.from_logits, self.multilabel)
            decided = self._decided(expected) if expected_ids is None else decided
        if actual.ndim == 4:
            self.finite &= bool(np.isfinite(actual).all())
            self.largest_difference = max(self.largest_difference, float(np.abs(expected - actual).max()))
            after = collapse(actual, self.from_logits, self.multilabel)
        self.by_margin &= expected.ndim == 4 and expected_ids is None
        self.pixels += before.size
        self.same += int((before == after).sum())
        right = before == after if expected_ids is None else expected_ids == after
        self.decided += int(decided.sum())
        self.decided_same += int((right & decided).sum())
        if mask is not None:
            if self.confusions is None:
                self.confusions = self._counters(expected, ignore_class)
            for confusion, predicted in zip(self.confusions, (before, after), strict=True):
                confusion.add(mask[None], predicted)

    def _counters(self, expected, ignore_class):
        if self.multilabel:
            return [LabelCounts(expected.shape[-1], ignore_class) for _ in range(2)]
        count = _IDS if expected.ndim == 3 else max(expected.shape[-1], 2)
        return [Confusion(count, ignore_class) for _ in range(2)]

    def _decided(self, scores):
        """Tell where the best score leads clearly."""
        if self.multilabel:  # each against its threshold
            apart = np.abs(scores - (0 if self.from_logits else 0.5))
            return 2 * apart > self.tolerance.margin * (scores.max() - scores.min())
        if scores.shape[-1] == 1:  # binary: against the threshold
            other = np.negative if self.from_logits else partial(np.subtract, 1)
            scores = np.concatenate([other(scores), scores], -1)
        best = np.sort(scores, axis=-1)
        return best[..., -1] - best[..., -2] > self.tolerance.margin * (scores.max() - scores.min())

    def mean_ious(self) -> tuple[float | None, float | None]:
        """Return the mean IoU of the Keras model and of the file, `None` without masks."""
        if self.confusions is None or not np.isfinite([each.iou for each in self.confusions]).any(-1).all():
            return None, None
        before, after = (float(np.nanmean(confusion.iou)) for confusion in self.confusions)
        return before, after

    def refuse_disagreement(self, path: PathLike, title: str) -> None:
        """Raise if the sums are beyond the tolerance.

        Raises:
            RuntimeError: with what differs by how much.
        """
        problems = []
        if not self.finite:
            problems.append("its scores are not finite")
        share = self.largest_difference / max(self.range, 1e-12)
        if self.tolerance.difference is not None and not share <= self.tolerance.difference:
            problems.append(
                f"scores differ by {share:.2g} of their range (at most {self.tolerance.difference:g})"
            )
        agreement = self.decided_same / self.decided if self.decided else 1.0
        least = self.tolerance.same_class
        if self.looser and not self.by_margin:
            least = max(1 - _LOOSER * (1 - least), min(least, 0.9))
        if agreement < least:
            pixels = "clearly decided pixels" if self.by_margin else "pixels"
            problems.append(
                f"only {100 * agreement:.2f} % of {pixels} keep their class (at least {100 * least:g} %)"
            )
        if problems:
            advice = "; calibrate with pictures like those it will see" if "int" in title else ""
            raise RuntimeError(
                f"{path}: the {title} file disagrees with the Keras model, nothing was written: "
                f"{', '.join(problems)}{advice}"
            )
