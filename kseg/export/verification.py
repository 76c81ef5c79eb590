"""The check of a written file: a second process runs it on real inputs, and it is compared with the model."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg import sandbox
from kseg.export.comparison import Comparison, Reference
from kseg.export.pictures import fit, generated_pictures
from kseg.export.report import ExportReport
from kseg.graphs import ModelFacts, half_precision
from kseg.inference import Runner
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

    def __add__(self, other: Tolerance) -> Tolerance:
        """Return what two causes together may differ by."""
        apart = None
        if self.difference is not None and other.difference is not None:
            apart = self.difference + other.difference
        return Tolerance(
            apart,
            self.margin + other.margin,
            self.same_class + other.same_class - 1,
        )


TOLERANCES = {
    None: Tolerance(1e-3, 2e-3, 0.9999),
    "float16": Tolerance(3e-2, 3e-2, 0.999),
    "dynamic": Tolerance(None, 0.1, 0.95),
    "int8": Tolerance(None, 0.1, 0.95),
    "int16x8": Tolerance(None, 0.1, 0.95),
}
# What half precision adds, where the model itself computes in it and the file does not. Of six untrained
# architectures float16 differs by 0.0014 of the range at most, bfloat16 by 0.0134.
HALF = {"float16": Tolerance(1e-2, 1e-2, 0.999), "bfloat16": Tolerance(6e-2, 6e-2, 0.99)}
# Of pooling with indices: where two cells are alike, rounding decides which keeps the value, and one such
# cell in the deepest block reaches hundreds of pixels. An untrained SegNet at 360×480 keeps 99.94 %.
WITH_INDICES = {None: Tolerance(None, 2e-3, 0.99), "float16": Tolerance(None, 3e-2, 0.95)}
HALF_WITH_INDICES = {"float16": Tolerance(None, 3e-2, 0.9), "bfloat16": Tolerance(None, 0.1, 0.8)}


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
    """Run the file at `path`, in the second process, and the user's own Keras model on the same pictures.

    A model of mixed precision may differ by what half precision is worth; its float32 copy, which the file
    was made of, must then agree as closely as any other model with its file.

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
    times: list[float] = []
    with opened_in_sandbox(path, shown_path, times, facts.multilabel) as written:
        if not data and facts.scores_only_centre and written.input_size is None:
            raise ValueError(
                f"{shown_path}: validation_data is missing: a model with padding='valid' takes certain sizes "
                "only"
            )
        pairs = data or [(picture, None) for picture in generated_pictures(written)]
        comparisons = [
            (Reference(model, facts, output_kind, written), Comparison(tolerance, written, looser))
            for model, tolerance, looser in _references(facts, quantize)
        ]
        for picture, mask in (fit(image, mask, written.input_size) for image, mask in pairs):
            image = picture[None]
            actual = written.ids(image) if written.output_kind == "classes" else written.scores(image)
            for reference, comparison in comparisons:
                comparison.add(*reference(image), actual, mask, ignore_class)
        if extra_check is not None:
            extra_check(path, written)
    for _, comparison in comparisons:
        comparison.refuse_disagreement(shown_path, title)
    (_, comparison), *_ = comparisons
    keras_miou, file_miou = comparison.mean_ious()
    return ExportReport(
        path=str(shown_path),
        format=title,
        output_kind=str(written.output_kind),
        size_bytes=0,
        pictures=len(pairs),
        generated=not data,
        largest_difference=None if written.output_kind == "classes" else comparison.largest_difference,
        score_range=comparison.range,
        same_class=comparison.same / comparison.pixels,
        latency_ms=1e3 * statistics.median(times[1:] or times),
        keras_miou=keras_miou,
        value_range=None if facts.value_range is None else facts.value_range.as_config(),
        file_miou=file_miou,
    )


def _references(facts, quantize):
    """Return `[(model, its tolerance, looser as for Comparison)]`, first the user's own model."""
    exact, precision = TOLERANCES[quantize], half_precision(facts.model)
    ids = facts.output_kind == "classes"  # of which none tells by how little it won
    if facts.rounds_indices:
        exact = WITH_INDICES.get(quantize, exact)
    if precision is None:
        return [(facts.model, exact, ids)]
    halves = HALF_WITH_INDICES if facts.rounds_indices else HALF
    return [(facts.model, exact + halves[precision], True), (facts.float32, exact, ids)]


@contextlib.contextmanager
def opened_in_sandbox(
    path: Path, shown_path: Path, times: list[float], multilabel: bool = False
) -> Iterator[Runner]:
    """Yield the `Runner` of a file that runs in the second process; each run adds its seconds to `times`."""

    def run(images):
        values, seconds = sandbox.call(run_file, str(path), images)
        times.append(seconds)
        return values

    with reraise_as(shown_path, "the file that was converted does not run"):
        size, channels, kind, num_classes = sandbox.call(open_file, str(path))
        yield Runner(run, size, channels, kind, num_classes, multilabel=multilabel)
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
