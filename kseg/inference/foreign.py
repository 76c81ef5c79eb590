"""What a file tells of itself, whoever wrote it: the values it takes, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kseg.litert.metadata import Metadata, read_metadata
from kseg.pictures import PIXEL_RANGE
from kseg.runtime import LiteRTFile, OnnxFile
from kseg.value_range import ValueRange, from_json

_KINDS = ("logits", "probabilities", "classes")  # as kseg's files name their output
# LiteRT's operators, by what they do to values.
_MOVES = frozenset(
    [
        *(
            "AVERAGE_POOL_2D",
            "CAST",
            "DEQUANTIZE",
            "EXPAND_DIMS",
            "MAX_POOL_2D",
            "MIRROR_PAD",
            "PAD",
            "PADV2",
        ),
        *("QUANTIZE", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SQUEEZE"),
        *("STRIDED_SLICE", "TRANSPOSE"),
    ]
)
_GIVES = {
    "LOGISTIC": "sigmoid",
    "SOFTMAX": "softmax",
    **dict.fromkeys(["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"], "linear"),
}


@dataclass(frozen=True)
class Told:
    """What a file tells.

    Attributes:
        output_kind: `"logits"`, `"probabilities"`, `"classes"` or `None`.
        activation: `"softmax"`, `"sigmoid"`, `"linear"` or `None`, where it is known.
        input_range: `(low, high)`, what it takes for pixel values 0 and 255, or `None`.
        multilabel: whether a pixel may have several labels.
        value_range: what the files of its pictures hold for black and white, or `None`.
    """

    output_kind: str | None = None
    activation: str | None = None
    input_range: tuple[float, float] | None = None
    multilabel: bool = False
    value_range: ValueRange | None = None


def told_by(path: Path, file: Any) -> Told:
    """Return what an opened file tells of itself.

    Args:
        path: of the file.
        file: of `kseg.runtime`.
    """
    if isinstance(file, LiteRTFile):
        return _told_by_litert(path, file)
    # Keras' and other programs' exports have other names for what goes in and comes out
    ours = file.name == "image" and file.output_name in _KINDS
    if isinstance(file, OnnxFile):
        several, kept = file.told.get("multilabel") == "true", file.told.get("value_range")
    else:
        several, kept = bool(getattr(file.loaded, "kseg_multilabel", False)), _text_in(file.loaded)
    return Told(file.output_kind, None, PIXEL_RANGE if ours else None, several, from_json(kept))


def _text_in(loaded):
    """Return the text of the range that a SavedModel of ours holds, `None` without one."""
    kept = getattr(loaded, "kseg_value_range", None)
    return None if kept is None else kept.numpy().decode()


def _told_by_litert(path, file):
    try:
        metadata = read_metadata(path)
    except ValueError:
        metadata = Metadata()
    if file.output_kind in _KINDS:
        activation = "linear" if file.output_kind == "logits" else None
    elif metadata.activation in ("softmax", "sigmoid"):  # it is applied to what the file gives
        activation = "linear"
    else:
        activation = _by_operators(file)
    kind = file.output_kind or {None: None, "linear": "logits"}.get(activation, "probabilities")
    return Told(
        kind, activation, _range_of(metadata, file), metadata.multilabel, from_json(metadata.value_range)
    )


def _range_of(metadata, file):
    """Return the range of the input by the metadata, or by the scale of an input of integers."""
    if metadata.mean is not None and metadata.std and metadata.uniform:
        return tuple((value - metadata.mean) / metadata.std for value in PIXEL_RANGE)
    if file.input["dtype"] == np.float32:
        return None
    scale, zero_point = file.input["quantization"]
    limits = np.iinfo(file.input["dtype"])
    whole_byte = limits.max - limits.min == 255 and scale > 0
    return (
        tuple(float(scale * (end - zero_point)) for end in (limits.min, limits.max)) if whole_byte else None
    )


def _reads_probabilities(operator, made):
    """Tell whether a convolution reads probabilities that were moved at most: it then smooths them."""
    before = [made[int(tensor)] for tensor in operator["inputs"] if int(tensor) in made]
    while before:
        each = before.pop()
        if each["op_name"] in ("LOGISTIC", "SOFTMAX"):
            return True
        if each["op_name"] in _MOVES:
            before += [made[int(tensor)] for tensor in each["inputs"][:1] if int(tensor) in made]
    return False


def _by_operators(file):
    """Return the activation by the operator that made the output, through what only moves values."""
    operators = [each for each in file.interpreter._get_ops_details() if each["op_name"] != "DELEGATE"]
    made = {int(tensor): operator for operator in operators for tensor in operator["outputs"]}
    tensor = int(file.output["index"])
    shapes = {each["index"]: each["shape"] for each in file.interpreter.get_tensor_details()}
    while tensor in made:
        operator = made[tensor]
        if operator["op_name"] not in _MOVES:
            found = _GIVES.get(operator["op_name"])
            if found == "linear" and _reads_probabilities(operator, made):
                return None
            cut_out = found == "softmax" and shapes[tensor][-1] != file.num_classes
            return ("sigmoid" if file.num_classes == 1 else None) if cut_out else found
        tensor = int(operator["inputs"][0])
    return None
