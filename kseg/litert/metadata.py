"""Metadata inside `.tflite` files, for MediaPipe Tasks and Android: normalisation, labels, activation.

Reference: the schemas `metadata_schema.fbs` (TensorFlow Lite Support) and
`image_segmenter_metadata_schema.fbs` (MediaPipe); the comments name their fields.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint8Flags, Uint32Flags

from kseg.litert.tables import (
    Builder,
    buffer_of,
    bytes_at,
    number_at,
    numbers_at,
    root_of,
    table_at,
    tables_at,
    text_at,
)

_ACTIVATIONS = ("none", "sigmoid", "softmax")
_LABELS = "labels.txt"
_IMAGE, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2  # of the unions of contents and process units; of files
_PARSER = "1.5.0"  # of the metadata; the first with custom metadata
_ENTRY = b"TFLITE_METADATA"
_SEVERAL, _VALUES = "KSEG_MULTILABEL", "KSEG_VALUE_RANGE"  # custom metadata of our own


@dataclass
class Metadata:
    """What a `.tflite` file tells of itself; printed, a few lines.

    Attributes:
        name: str, of the model.
        description: str.
        mean, std: float, the normalisation its user applies; `None` without one. For kseg's files 0 and 1:
            they take pixel values.
        activation: `"none"`, `"sigmoid"` or `"softmax"`, what its user applies to the scores; `None` if it
            does not say.
        labels: list of str, the classes.
        uniform: bool, whether mean and std are those of every channel; else they are those of the first.
        multilabel: bool, whether a pixel may have several of them; only kseg's files say it.
        value_range: str, JSON of what the files of its pictures hold for black and white, each a number or a
            list of one per channel; `None` for 0–255. Only kseg's files say it.
    """

    name: str = ""
    description: str = ""
    mean: float | None = None
    std: float | None = None
    activation: str | None = None
    labels: list | None = None
    multilabel: bool = False
    uniform: bool = True
    value_range: str | None = None

    def __str__(self):
        lines = [f"{self.name}: {self.description}"]
        normalization = "none" if self.mean is None else f"(value - {self.mean:g}) / {self.std:g}"
        normalization += "" if self.uniform else " in the first channel, other values in others"
        if self.value_range:
            lines.append(
                f"  picture files hold {self.value_range} for black and white, the file takes 0 to 255"
            )
        lines.append(f"  normalisation before the file: {normalization}")
        lines.append(f"  activation after it: {self.activation or 'not told'}")
        several = ", several per pixel" if self.multilabel else ""
        lines.append(f"  labels: {', '.join(self.labels or []) or 'none'}{several}")
        return "\n".join(lines)


def with_metadata(content: bytes, metadata: Metadata, size: tuple, grey: bool = False) -> bytes:
    """Return a `.tflite` file with metadata and labels in it, in the place of earlier ones.

    The file is written anew, its weights at multiples of 16 bytes. The labels follow behind it, as a ZIP
    archive.

    Args:
        content: the file.
        metadata: what to tell.
        size: `(H, W)` in pixels.
        grey: whether pictures have one channel.

    Raises:
        ValueError: if it is no `.tflite` file.
    """
    from ai_edge_litert import schema_py_generated as schema  # large, and only writing needs it

    root_of(content, b"TFL3")
    content = _without_archive(content)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    model.metadata = model.metadata or []
    entry = next((each for each in model.metadata if each.name == _ENTRY), None)
    if entry is None:
        entry = schema.MetadataT(_ENTRY, buffer=len(model.buffers))
        model.metadata.append(entry)
        model.buffers.append(schema.BufferT())
    packed = _packed(metadata, size, grey)
    model.buffers[entry.buffer].data = np.frombuffer(packed, "uint8")
    builder = Builder(len(content) + len(packed) + 2**16)
    builder.Finish(model.Pack(builder), b"TFL3")
    file = io.BytesIO(memoryview(builder.Bytes)[builder.Head() :])  # `Output` would copy a large file again
    if metadata.labels:
        with zipfile.ZipFile(file, "a") as archive:
            labels = zipfile.ZipInfo(_LABELS)  # with a fixed date: the same model gives the same file
            archive.writestr(labels, "\n".join(metadata.labels) + "\n")
    return file.getvalue()


def _without_archive(content):
    """Return a file without the labels of an earlier time behind it."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min((entry.header_offset for entry in archive.infolist()), default=len(content))]


def _packed(metadata, size, grey):
    height, width = size
    image = {
        0: "image",  # name
        1: "Picture, values 0 to 255",
        3: {0: np.uint8(_IMAGE), 1: {0: np.uint8(2 if grey else 1), 1: {0: width, 1: height}}},  # content
        5: {0: [255.0], 1: [0.0]},  # stats
    }
    if metadata.mean is not None:
        normalization = {0: [float(metadata.mean)], 1: [float(metadata.std)]}
        image[4] = [{0: np.uint8(_NORMALIZATION), 1: normalization}]  # process units
    scores = {0: "segmentation", 1: metadata.description}
    if metadata.labels:
        scores[6] = [{0: _LABELS, 1: "The classes, in order", 2: np.uint8(_AXIS_LABELS)}]  # associated files
    graph = {2: [image], 3: [scores]}
    if metadata.multilabel:
        graph[9] = [{0: _SEVERAL, 1: b"1"}]
    if metadata.value_range:
        graph[9] = [*graph.get(9, []), {0: _VALUES, 1: metadata.value_range.encode()}]
    if metadata.activation is not None:
        options = {0: np.uint8(_ACTIVATIONS.index(metadata.activation)), 1: "1.0.0"}
        segmenter = {0: "SEGMENTER_METADATA", 1: buffer_of(options, b"V001")}
        graph[9] = [segmenter, *graph.get(9, [])]  # custom metadata
    return buffer_of({0: metadata.name, 1: metadata.description, 3: [graph], 7: _PARSER}, b"M001")


def read_metadata(path: str | Path) -> Metadata:
    """Read the metadata of a `.tflite` file, whoever wrote it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.tflite` file, damaged, or holds no metadata.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        found = _read(content)
    except (ValueError, TypeError, LookupError, struct.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no complete .tflite file ({error}); export it again") from error
    if found is None:
        raise ValueError(f"{path}: the file holds no metadata")
    return found


def _read(content):
    model = root_of(content, b"TFL3")
    entry = next((each for each in tables_at(model, 6) if text_at(each, 0) == _ENTRY.decode()), None)
    if entry is None:
        return None
    root = root_of(bytes_at(tables_at(model, 4)[number_at(entry, 1, Uint32Flags)], 0), b"M001")
    (graph, *_) = tables_at(root, 3)
    found = Metadata(name=text_at(root, 0), description=text_at(root, 1))
    for unit in [unit for image in tables_at(graph, 2) for unit in tables_at(image, 4)]:
        options = table_at(unit, 1)
        if number_at(unit, 0, Uint8Flags) == _NORMALIZATION and options is not None:
            values = [numbers_at(options, slot, Float32Flags).tolist() for slot in (0, 1)]
            found.mean, found.std = (each[0] for each in values)
            found.uniform = all(len(set(each)) == 1 for each in values)
    for custom in tables_at(graph, 9):
        found.multilabel |= text_at(custom, 0) == _SEVERAL
        if text_at(custom, 0) == _VALUES:
            found.value_range = bytes(bytes_at(custom, 1)).decode()
        if text_at(custom, 0) == "SEGMENTER_METADATA":
            found.activation = _ACTIVATIONS[number_at(root_of(bytes_at(custom, 1), b"V001"), 0, Int8Flags)]
    names = [text_at(file, 0) for scores in tables_at(graph, 3) for file in tables_at(scores, 6)]
    if names:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found.labels = archive.read(names[0]).decode().splitlines()
    return found
