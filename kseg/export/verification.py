"""The check of a written file: run on real inputs, compared with the Keras model, or refused."""

import statistics
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import tensorflow as tf

from kseg.data.directory import resize_pair
from kseg.export.writing import in_float32
from kseg.inference import open_model
from kseg.layers import MaxPoolWithIndices
from kseg.metrics import Confusion, iou_of

MAX_PICTURES = 32


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
    "int8": Tolerance(None, 0.1, 0.95),
}
# Of pooling with indices: where two cells are alike, rounding decides which keeps the value, and one such
# cell in the deepest block reaches hundreds of pixels. An untrained SegNet at 360×480 keeps 99.94 %.
WITH_INDICES = {None: Tolerance(None, 2e-3, 0.99), "float16": Tolerance(None, 3e-2, 0.95)}


@dataclass
class ExportReport:
    """What was written and how it compares with the Keras model.

    Attributes:
        path: str.
        format: `"SavedModel"`, `"LiteRT float32"`, `"LiteRT float16"` or `"LiteRT int8"`.
        size_bytes: int, all files together.
        pictures: int, how many pictures were compared; `generated` tells whether they were made up.
        largest_difference: float, between scores of the two.
        score_range: float, largest minus smallest score of the Keras model.
        same_class: float, share of pixels that get the same class from both.
        latency_ms: float, median time of one picture on this CPU.
        keras_miou, file_miou: float, or `None` without masks.
        operators: dict, name → count (LiteRT only).
    """

    path: str
    format: str
    size_bytes: int
    pictures: int
    generated: bool
    largest_difference: float
    score_range: float
    same_class: float
    latency_ms: float
    keras_miou: float | None = None
    file_miou: float | None = None
    operators: dict = field(default_factory=dict)

    def __str__(self):
        what = "generated pictures" if self.generated else "pictures"
        lines = [
            f"{self.path}: {self.format}, {self.size_bytes / 1e6:.2f} MB, {self.latency_ms:.1f} ms a picture",
            f"  compared on {self.pictures} {what}: same class on {100 * self.same_class:.3f} % of pixels, "
            f"largest difference {self.largest_difference:.3g} of a range of {self.score_range:.3g}",
        ]
        if self.keras_miou is not None:
            lines.append(f"  mean IoU {self.file_miou:.4f}, Keras {self.keras_miou:.4f}")
        if self.operators:
            operators = ", ".join(f"{name} {count}" for name, count in sorted(self.operators.items()))
            lines.append(f"  operators: {operators}")
        return "\n".join(lines)


def verify(model, path, *, title, shown_path, size_bytes, data, quantize=None, ignore_class=255):
    """Run the file at `path` and the Keras model, in float32, on the same pictures.

    Args:
        model: `keras.Model`.
        path: what was written, still under its temporary name.
        title: the report's `format`.
        shown_path: the final path, for the report and the error.
        size_bytes: int.
        data: list of `(picture (H, W, C), mask (H, W) or None)`; empty: generated pictures.
        quantize: key of `TOLERANCES`.
        ignore_class: int or several, void.

    Returns:
        `ExportReport`.

    Raises:
        RuntimeError: if the two disagree by more than the tolerance.
    """
    reference, written = open_model(in_float32(model)), open_model(path)
    if not data and reference.inner and written.input_size is None:
        raise ValueError(
            f"{shown_path}: validation_data is missing: a model with padding='valid' takes certain sizes only"
        )
    pairs = data or [(picture, None) for picture in generated_pictures(written)]
    pairs = [_fit(picture, mask, written.input_size) for picture, mask in pairs]
    tolerance = TOLERANCES[quantize]
    if any(isinstance(layer, MaxPoolWithIndices) for layer in model._flatten_layers()):
        tolerance = WITH_INDICES.get(quantize, tolerance)
    comparison = _Comparison(tolerance, reference.from_logits)
    times = []
    for picture, mask in pairs:
        image = picture[None].astype("float32")
        expected = reference.scores(image)
        start = time.perf_counter()
        scores = written.scores(image)
        times.append(1e3 * (time.perf_counter() - start))
        comparison.add(expected, scores, mask, ignore_class)
    comparison.refuse_disagreement(shown_path, title)
    keras_miou, file_miou = comparison.mean_ious()
    return ExportReport(
        path=str(shown_path),
        format=title,
        size_bytes=size_bytes,
        pictures=len(pairs),
        generated=not data,
        largest_difference=comparison.largest_difference,
        score_range=comparison.range,
        same_class=comparison.same / comparison.pixels,
        latency_ms=statistics.median(times[1:] or times),
        keras_miou=keras_miou,
        file_miou=file_miou,
    )


def collect(data, limit=MAX_PICTURES):
    """Return up to `limit` `(picture, mask or None)`.

    `data` is a dataset or another iterable of batches, an array `(B, H, W, C)`, or Keras' pair of arrays
    `(x, y)`.

    Raises:
        ValueError: if there is none, or a picture is not `(H, W, C)` of finite numbers.
    """
    if data is None:
        return []
    pairs = []
    one_batch = isinstance(data, np.ndarray) or (isinstance(data, tuple) and len(data) == 2)
    for batch in [data] if one_batch else data:
        images, masks = batch if isinstance(batch, tuple | list) else (batch, None)
        images = np.asarray(images)
        images = images[None] if images.ndim == 3 else images
        masks = [None] * len(images) if masks is None else np.asarray(masks)
        masks = masks[None] if isinstance(masks, np.ndarray) and masks.ndim == 2 else masks
        for image, mask in zip(images, masks, strict=True):
            if image.ndim != 3 or not np.all(np.isfinite(image)):
                raise ValueError(f"a picture must be (H, W, C) of finite numbers, got {image.shape} or NaN")
            pairs.append((image, mask))
            if len(pairs) == limit:
                return pairs
    if not pairs:
        raise ValueError(
            "the data to calibrate and verify with are empty; give at least one batch of pictures"
        )
    return pairs


def generated_pictures(runner, count=4):
    """Return smooth random pictures: a stand-in where the caller has none."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(count):
        size = runner.input_size or (64 + 11 * number, 96 - 7 * number)
        coarse = rng.uniform(0, 255, (1, 8, 8, runner.channels)).astype("float32")
        smooth = tf.image.resize(coarse, size, method="bicubic").numpy()[0]
        pictures.append(np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).round().astype("uint8"))
    return pictures


def _fit(picture, mask, size):
    if size is None or picture.shape[:2] == size:
        return picture, mask
    dummy = np.zeros(picture.shape[:2], "int32") if mask is None else mask.reshape(picture.shape[:2])
    image, resized = resize_pair(picture, dummy, size)
    return image.numpy(), None if mask is None else resized.numpy()


class _Comparison:
    """Sums over pictures of how two sets of scores differ."""

    def __init__(self, tolerance, from_logits):
        self.tolerance = tolerance
        self.from_logits = from_logits
        self.pixels = self.same = self.decided = self.decided_same = 0
        self.low, self.high, self.largest_difference = np.inf, -np.inf, 0.0
        self.confusions = None
        self.finite = True

    @property
    def range(self):
        return float(self.high - self.low)

    def add(self, expected, scores, mask, ignore_class):
        self.finite &= bool(np.isfinite(scores).all())
        self.low, self.high = min(self.low, expected.min()), max(self.high, expected.max())
        self.largest_difference = max(self.largest_difference, float(np.abs(expected - scores).max()))
        if expected.shape[-1] == 1:  # binary: compare with the threshold
            other = np.negative if self.from_logits else partial(np.subtract, 1)
            expected, scores = (np.concatenate([other(x), x], -1) for x in (expected, scores))
        best = np.sort(expected, axis=-1)
        decided = best[..., -1] - best[..., -2] > self.tolerance.margin * (expected.max() - expected.min())
        before, after = expected.argmax(-1), scores.argmax(-1)
        same = before == after
        self.pixels += same.size
        self.same += int(same.sum())
        self.decided += int(decided.sum())
        self.decided_same += int((same & decided).sum())
        if mask is not None:
            if self.confusions is None:
                self.confusions = [Confusion(expected.shape[-1], ignore_class) for _ in range(2)]
            for confusion, predicted in zip(self.confusions, (before, after), strict=True):
                confusion.add(mask, predicted)

    def mean_ious(self):
        """Return the mean IoU of the Keras model and of the file, `None` without masks."""
        if self.confusions is None or not self.confusions[0].matrix.any():
            return None, None
        return tuple(float(np.nanmean(iou_of(confusion.matrix))) for confusion in self.confusions)

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
            mend = "; calibrate with pictures like those it will see" if "int8" in title else ""
            raise RuntimeError(
                f"{path}: the {title} file disagrees with the Keras model, nothing was written: "
                f"{', '.join(problems)}{mend}"
            )
