"""Export to LiteRT (`.tflite`): static, builtin operators only."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from kseg import sandbox
from kseg.checks import check_choice, renamed, unknown_name
from kseg.export.convolve_before_resize import names_in_split, split_convolutions
from kseg.export.pictures import MAX_PICTURES, collect, fit
from kseg.export.report import ExportReport
from kseg.export.serving import OUTPUT_KINDS, static_size, write_archive
from kseg.export.verification import reraise_as
from kseg.export.writing import begin, path_without_pattern, write_verified
from kseg.graphs import ModelFacts, layer_names
from kseg.litert.conversion import convert
from kseg.litert.description import describe
from kseg.litert.metadata import Metadata, with_metadata
from kseg.types import InputRange, StatedActivation

_QUANTIZATIONS = (None, "float16", "dynamic", "int8", "int16x8")
_CALIBRATED = ("int8", "int16x8")
_FEWEST_PICTURES = 4  # of which the ranges of int8 are known at all; some dozens are better
# What inference never needs; each was seen in files that other exporters wrote without a word.
_FORBIDDEN = ("ASSIGN_VARIABLE", "VAR_HANDLE", "READ_VARIABLE", "SPACE_TO_BATCH_ND", "CUSTOM")


@renamed(output="output_kind")
def export_tflite(
    model: keras.Model,
    path: str | os.PathLike,
    *,
    input_size: tuple[int, int] | None = None,
    quantize: Literal["float16", "dynamic", "int8", "int16x8"] | None = None,
    representative_data: Any = None,
    float_layers: Sequence[str] | int = (),
    output_kind: Literal["logits", "probabilities", "classes", "fast_classes"] | None = None,
    class_names: Sequence[str] | None = None,
    mediapipe: bool = False,
    validation_data: Any = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    ignore_class: int | Sequence[int] | None = 255,
    overwrite: bool = False,
) -> ExportReport:
    """Write a `.tflite` file for phones and prove that it agrees with the model.

    The file takes `image`, `(1, H, W, C)` with values 0–255 (normalisation is inside), and gives scores
    `(1, H, W, num_classes)`. int8 files take the raw uint8 picture and give uint8 scores, whose arg-max is
    the class; the others take and give float32. Batch and size are static and all operators builtin, which
    phones' accelerators ask for. Conversion and comparison happen in a second process; the file stands at
    its path whole and verified or not at all, its report beside it as `NAME.tflite.json`.

    Args:
        model: `keras.Model` with scores `(B, H, W, num_classes)`.
        path: file to write, `.tflite`.
        input_size: `(H, W)` in pixels; needed where the model leaves them open.
        quantize: `None` (float32), `"float16"` (weights, half the size), `"dynamic"` (weights in 8 bits,
            float in and out), `"int8"` (weights and arithmetic) or `"int16x8"` (weights in 8 bits,
            activations in 16: exact and slow, for what int8 harms).
            int8 is a quarter of the size everywhere, but faster only where the processor has instructions
            for products of bytes (Arm's dot product, x86's VNNI): `kseg benchmark` tells.
        representative_data: for int8 and int16x8: pictures like those the file will see, in whatever holds
            them: an array `(B, H, W, C)`, `(x, y)`, a data set or a list of such batches, or the generator
            function of TensorFlow's guide. Up to 100 set the ranges, 4 are the least. int8 leaves out
            extremes where that errs less.
        float_layers: for int8: names of layers to leave in float, or how many of those that lose most; the
            report's `worst_layers` names them. One that went into a convolution means that convolution. What
            int8 and int16x8 lack stays in float by itself, group and layer normalisation for instance; the
            report's `float_layers` names all that did.
        output_kind: `None` (what the model gives), `"logits"`, `"probabilities"`, `"classes"` (int32 ids
            `(1, H, W)`), or `"fast_classes"`: ids taken before the last resize, which is faster and makes
            borders coarse; the report tells the share of pixels that stay the same.
        class_names: `None` or one name per class; they go into the file's metadata, which always tells
            normalisation and activation.
        mediapipe: whether MediaPipe's `ImageSegmenter` must take the file: an error tells what of the
            model or the arguments it cannot.
        validation_data: as the representative data, to verify with: the first 32 pictures; `None` takes the
            representative data, else generated pictures. With masks the report has the mean IoU of both.
        activation, multilabel: as for `kseg.predict`, of the model.
        input_range: `(low, high)`, what the model takes for pixel values 0 and 255; the file takes 0–255.
        ignore_class: int or several, void in those masks.
        overwrite: replace what is at `path`.

    Returns:
        `ExportReport`.

    Raises:
        FileExistsError: if `path` exists and `overwrite` is false.
        OSError: if another process exports to `path`, or the disk is full.
        RuntimeError: if the file cannot be converted, crashes or disagrees with the model; nothing is then
            written.
        ValueError: for an argument that is missing or out of range, calibration pictures that are too few,
            not finite or not on the scale 0–255.

    Example:
        >>> import kseg, tempfile
        >>> model = kseg.build_conv_stack(2, depth=1, filters=4)
        >>> report = export_tflite(model, tempfile.mkdtemp() + "/model.tflite", input_size=(32, 32))
        >>> report.format
        'LiteRT float32'
    """
    stated: dict[str, Any] = {"activation": activation, "input_range": input_range, "multilabel": multilabel}
    facts, path = begin("kseg.export_tflite", model, path, ".tflite", overwrite, class_names, **stated)
    check_choice("quantize", quantize, _QUANTIZATIONS)
    check_choice("output_kind", output_kind, (None, *OUTPUT_KINDS))
    size = static_size(facts, input_size)
    if mediapipe:
        _check_mediapipe(facts, output_kind)
    known_layers = layer_names(facts.model)
    _check_float_layers(float_layers, quantize, known_layers)
    calibration = _calibration(representative_data, quantize, input_range)
    job = _Conversion(facts, path, size, quantize, output_kind, float_layers, known_layers, class_names)
    return write_verified(
        facts,
        path,
        partial(job.write, calibration),
        complete=job.complete,
        title=f"LiteRT {quantize or 'float32'}",
        data=collect(validation_data, input_range=input_range) or calibration[:MAX_PICTURES],
        output_kind=output_kind,
        quantize=quantize,
        ignore_class=ignore_class,
    )


@dataclass
class _Conversion:
    """The conversion of a model, and what becomes known by it; attributes as the arguments above."""

    facts: ModelFacts
    path: Path
    size: tuple
    quantize: str | None
    output_kind: str | None
    float_layers: Sequence[str] | int
    known_layers: list[str]
    class_names: Sequence[str] | None

    def write(self, calibration, folder):
        """Write the file into a folder and return its path."""
        sandbox.begin(importlib.import_module, "tensorflow.lite.python.lite")  # it loads while this writes
        split = split_convolutions(self.facts.float32, self.size)
        made, pictures = folder / "model.tflite", None
        if calibration:
            pictures = str(folder / "pictures.npy")
            fitted = [fit(picture, None, self.size)[0].astype("float32") for picture, _ in calibration]
            np.save(pictures, np.stack(fitted))
        if not isinstance(self.float_layers, int):
            names = names_in_split(self.facts.model, split)
            self.float_layers = list(dict.fromkeys(names.get(name, name) for name in self.float_layers))
        with path_without_pattern(folder) as plain, reraise_as(self.path, "LiteRT cannot convert this model"):
            archive = str(plain / "archive")
            write_archive(split, self.facts, archive, (1, *self.size), self.output_kind)
            self.errors, self.kept, self.skipped = sandbox.call(
                convert, archive, str(made), self.quantize, pictures, self.float_layers, self.known_layers
            )
        metadata = _metadata(self.facts, self.output_kind, self.class_names, self.quantize)
        grey = self.facts.channels == 1
        made.write_bytes(with_metadata(made.read_bytes(), metadata, self.size, grey))
        with reraise_as(self.path, "the file that was converted does not run"):
            self.description = sandbox.call(describe, str(made))
        _check_description(self.description, self.quantize, self.kept, self.path)
        return made

    def complete(self, report):
        """Add to the report what the conversion tells."""
        for name in ("operators", "not_on_xnnpack", "not_on_gpu", "arena_bytes"):
            setattr(report, name, self.description[name])
        report.worst_layers, report.float_layers = dict(list(self.errors.items())[:5]), self.kept
        report.skipped_passes = self.skipped


def _metadata(facts, output_kind, class_names, quantize):
    """Return what the file tells of itself; MediaPipe turns logits into probabilities by it."""
    activation = None
    output_kind = output_kind or facts.output_kind
    if output_kind not in ("classes", "fast_classes"):
        logits = output_kind == "logits"
        sigmoid = facts.num_scores == 1 or facts.multilabel
        activation = ("sigmoid" if sigmoid else "softmax") if logits else "none"
    known = facts.output_kind != "classes"  # ids do not tell how many there are
    description = "Semantic segmentation" + (f", {facts.num_classes} classes" if known else "")
    labels = list(class_names or [])
    kept = facts.value_range and facts.value_range.as_json()
    if kept and quantize == "int8":
        description += "; of deep pictures 8 bits of their numbers remain"
    return Metadata(
        facts.model.name, description, 0.0, 1.0, activation, labels, facts.multilabel, value_range=kept
    )


def _check_mediapipe(facts, output_kind):
    """Raise for what MediaPipe refuses, or takes for something else without a word."""
    problem = None
    output_kind = output_kind or facts.output_kind
    if output_kind in ("classes", "fast_classes"):
        problem = (
            f"it takes the arg-max itself, and {output_kind=} for scores; use output_kind='logits', of a "
            "model that gives scores"
        )
    elif facts.channels not in (3, 4):
        problem = f"it takes pictures of 3 or 4 channels, the model takes {facts.channels}"
    elif facts.multilabel:
        problem = "it gives one class per pixel, the model several labels"
    elif facts.num_scores == 1:
        problem = (
            "of one channel it gives 0 for the foreground and 255 for the rest; build with num_classes=2"
        )
    if problem:
        raise ValueError(f"mediapipe=True: {problem}")


def _check_float_layers(float_layers, quantize, known_layers):
    if not float_layers:
        return
    if quantize != "int8":
        raise ValueError(f"float_layers is for quantize='int8', got quantize={quantize!r}")
    if isinstance(float_layers, int):
        return
    if isinstance(float_layers, str):
        raise ValueError(f"float_layers must be a list of names or a number, got {float_layers!r}")
    for name in float_layers:
        if name not in known_layers:
            raise unknown_name("layer in float_layers", name, known_layers)


def _calibration(representative_data, quantize, input_range):
    """Return the calibration pictures as pairs; refuse what would quantize badly without a word."""
    pairs = collect(representative_data, "representative_data", 100, input_range)
    if quantize not in _CALIBRATED:
        return pairs
    if not pairs:
        raise ValueError(
            f"representative_data is missing: quantize={quantize!r} needs pictures like those the file will "
            "see, for instance the training dataset"
        )
    if len(pairs) < _FEWEST_PICTURES:
        raise ValueError(
            f"representative_data holds {len(pairs)} pictures, at least {_FEWEST_PICTURES} are needed, "
            "better 100"
        )
    highest = max(picture.max() for picture, _ in pairs)
    if highest <= 1:
        raise ValueError(
            f"representative_data holds black pictures alone, values up to {highest:.3g} of 255; give "
            "pictures as in training"
        )
    return pairs


def _check_description(description, quantize, kept, path):
    """Refuse what no phone should get.

    Raises:
        RuntimeError: for operators that are not builtin, dynamic sizes, or an int8 file that is not int8.
    """
    bad = [name for name in description["operators"] if name.startswith("Flex") or name in _FORBIDDEN]
    if bad:
        raise RuntimeError(f"{path}: the file would hold operators phones cannot run: {', '.join(bad)}")
    (input_type, shape, quantization), (output_type, scores, _) = description["input"], description["output"]
    if -1 in shape or -1 in scores:
        raise RuntimeError(f"{path}: the file would have tensors of dynamic size")
    if quantize != "int8":
        return
    if (
        input_type != "uint8"
        or output_type not in ("uint8", "int32")
        or ("float32" in description["types"] and not kept)
    ):
        raise RuntimeError(
            f"{path}: int8 conversion gave {input_type} in, {output_type} out, tensors {description['types']}"
        )
    if quantization != (1.0, 0):
        raise RuntimeError(
            f"{path}: raw bytes would not pass unchanged, scale {quantization}; are the calibration pictures "
            "within 0–255?"
        )
