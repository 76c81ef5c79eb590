"""The check of a written file: a second process runs it on real inputs, and it is compared with the model."""

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from kseg import sandbox
from kseg.export.pictures import fit, generated_pictures
from kseg.export.report import ExportReport
from kseg.export.serving import output_function
from kseg.graphs import ModelFacts
from kseg.inference import Runner, collapse, open_model
from kseg.metrics import Confusion
from kseg.runtime import close_file, open_file, run_file
from kseg.types import IgnoreClass


@dataclass(frozen=True)
class Tolerance:
    """What a written file may differ by.

    Attributes:
        difference: largest difference of a score, as a share of the scores' range; `None`: not judged.
        margin: pixels whose best score leads by less than this share of the range may change class.
        same_class: least share of the other pixels that must keep their class.
    """

    difference: float | None
    margin: float
    same_class: float


TOLERANCES = {
    None: Tolerance(1e-3, 2e-3, 0.9999),
    "float16": Tolerance(3e-2, 3e-2, 0.999),
    "dynamic": Tolerance(None, 0.1, 0.95),
    "int8": Tolerance(None, 0.1, 0.95),
    "int16x8": Tolerance(None, 0.1, 0.95),
}
# Of pooling with indices: where two cells are alike, rounding decides which keeps the value, and one such
# cell in the deepest block reaches hundreds of pixels. An untrained SegNet at 360×480 keeps 99.94 %.
WITH_INDICES = {None: Tolerance(None, 2e-3, 0.99), "float16": Tolerance(None, 3e-2, 0.95)}


def verify(
    facts: ModelFacts,
    path: Path,
    *,
    title: str,
    shown_path: Path,
    data: list[tuple[np.ndarray, np.ndarray | None]],
    output_kind: str | None = None,
    quantize: str | None = None,
    ignore_class: IgnoreClass = 255,
    extra_check: Callable[[Path, Runner], None] | None = None,
) -> ExportReport:
    """Run the file at `path`, in the second process, and the Keras model, in float32, on the same pictures.

    Args:
        facts: of the user's model.
        path: what was written, still under its temporary name.
        title: the report's `format`.
        shown_path: the final path, for the report and the error.
        data: list of `(picture (H, W, C), mask (H, W) or None)`; empty: generated pictures.
        output_kind: as for `kseg.export_tflite`.
        quantize: key of `TOLERANCES`.
        ignore_class: int or several, void.
        extra_check: `None` or a function of `path` and the file's `Runner`, a further check.

    Returns:
        `ExportReport`; the caller adds what it knows of the file.

    Raises:
        RuntimeError: if the two disagree by more than the tolerance, or the file crashes.
    """
    reference = open_model(facts.float32)
    tolerance = TOLERANCES[quantize]
    if facts.rounds_indices:
        tolerance = WITH_INDICES.get(quantize, tolerance)
    fast = None
    if output_kind == "fast_classes":
        fast = tf.function(output_function(facts.float32, facts, output_kind))
    times: list[float] = []
    with opened_in_sandbox(path, shown_path, times) as written:
        if not data and facts.scores_only_centre and written.input_size is None:
            raise ValueError(
                f"{shown_path}: validation_data is missing: a model with padding='valid' takes certain sizes "
                "only"
            )
        pairs = data or [(picture, None) for picture in generated_pictures(written)]
        comparison = _Comparison(tolerance, written)
        for picture, mask in (fit(image, mask, written.input_size) for image, mask in pairs):
            image = picture[None].astype("float32")
            expected = _in_kind(reference.scores(image), reference, written)
            expected_ids = None if fast is None else fast(image)["classes"].numpy()
            actual = written.ids(image) if written.output_kind == "classes" else written.scores(image)
            comparison.add(expected, actual, mask, ignore_class, expected_ids)
        if extra_check is not None:
            extra_check(path, written)
    comparison.refuse_disagreement(shown_path, title)
    keras_miou, file_miou = comparison.mean_ious()
    return ExportReport(
        path=str(shown_path),
        format=title,
        output_kind=written.output_kind,
        size_bytes=0,
        pictures=len(pairs),
        generated=not data,
        largest_difference=None if written.output_kind == "classes" else comparison.largest_difference,
        score_range=comparison.range,
        same_class=comparison.same / comparison.pixels,
        latency_ms=1e3 * statistics.median(times[1:] or times),
        keras_miou=keras_miou,
        file_miou=file_miou,
    )


@contextlib.contextmanager
def opened_in_sandbox(path: Path, shown_path: Path, times: list[float]) -> Iterator[Runner]:
    """Yield the `Runner` of a file that runs in the second process; each run adds its seconds to `times`."""

    def run(images):
        values, seconds = sandbox.call(run_file, str(path), images)
        times.append(seconds)
        return values

    with reraise_as(shown_path, "the file that was converted does not run"):
        yield Runner(run, *sandbox.call(open_file, str(path)))
        sandbox.call(close_file, str(path))


@contextlib.contextmanager
def reraise_as(path: Path, what: str) -> Iterator[None]:
    """Raise errors of a job in the second process as ones that name the file."""
    try:
        yield
    except sandbox.ChildDied as error:
        raise RuntimeError(
            f"{path}: {what}: the process died ({error.reason}); nothing was written"
        ) from None
    except sandbox.JobFailed as error:
        raise RuntimeError(f"{path}: {what}, nothing was written: {error}") from error


def _in_kind(scores, reference, written):
    """Turn the Keras model's scores into probabilities where the file gives these."""
    if written.output_kind != "probabilities" or not reference.from_logits:
        return scores
    return (tf.sigmoid if scores.shape[-1] == 1 else tf.nn.softmax)(scores).numpy()


class _Comparison:
    """Sums over pictures of how two sets of scores differ, or scores and class ids."""

    def __init__(self, tolerance, written):
        self.tolerance = tolerance
        self.from_logits = written.output_kind != "probabilities"
        self.pixels = self.same = self.decided = self.decided_same = 0
        self.low, self.high, self.largest_difference = np.inf, -np.inf, 0.0
        self.confusions = None
        self.finite = True

    @property
    def range(self):
        return float(self.high - self.low)

    def add(self, expected, actual, mask, ignore_class, expected_ids=None):
        """Add a picture.

        Args:
            expected: the Keras model's scores.
            actual: the file's scores, or its ids (one axis less).
            mask: true ids or `None`.
            ignore_class: void.
            expected_ids: ids that the file's must equal, if not the ids of `expected`.
        """
        self.low, self.high = min(self.low, expected.min()), max(self.high, expected.max())
        after = actual
        if actual.ndim == expected.ndim:
            self.finite &= bool(np.isfinite(actual).all())
            self.largest_difference = max(self.largest_difference, float(np.abs(expected - actual).max()))
            after = collapse(actual, self.from_logits)
        before, decided = collapse(expected, self.from_logits), self._decided(expected)
        self.pixels += before.size
        self.same += int((before == after).sum())
        right = before == after if expected_ids is None else expected_ids == after
        decided = decided if expected_ids is None else np.ones_like(right)
        self.decided += int(decided.sum())
        self.decided_same += int((right & decided).sum())
        if mask is not None:
            if self.confusions is None:
                count = max(expected.shape[-1], 2)
                self.confusions = [Confusion(count, ignore_class) for _ in range(2)]
            for confusion, predicted in zip(self.confusions, (before, after), strict=True):
                confusion.add(mask, predicted)

    def _decided(self, scores):
        """Tell where the best score leads clearly."""
        if scores.shape[-1] == 1:  # binary: against the threshold
            other = np.negative if self.from_logits else partial(np.subtract, 1)
            scores = np.concatenate([other(scores), scores], -1)
        best = np.sort(scores, axis=-1)
        return best[..., -1] - best[..., -2] > self.tolerance.margin * (scores.max() - scores.min())

    def mean_ious(self):
        """Return the mean IoU of the Keras model and of the file, `None` without masks."""
        if self.confusions is None or not self.confusions[0].true_counts.any():
            return None, None
        return tuple(float(np.nanmean(confusion.iou)) for confusion in self.confusions)

    def refuse_disagreement(self, path, title):
        problems = []
        if not self.finite:
            problems.append("its scores are not finite")
        share = self.largest_difference / max(self.range, 1e-12)
        if self.tolerance.difference is not None and not share <= self.tolerance.difference:
            problems.append(
                f"scores differ by {share:.2g} of their range (at most {self.tolerance.difference})"
            )
        agreement = self.decided_same / self.decided if self.decided else 1.0
        if agreement < self.tolerance.same_class:
            problems.append(
                f"only {100 * agreement:.2f} % of clearly decided pixels keep their class "
                f"(at least {100 * self.tolerance.same_class} %)"
            )
        if problems:
            advice = "; calibrate with pictures like those it will see" if "int" in title else ""
            raise RuntimeError(
                f"{path}: the {title} file disagrees with the Keras model, nothing was written: "
                f"{', '.join(problems)}{advice}"
            )
