"""Metadata inside `.tflite` files, for MediaPipe Tasks and Android: normalisation, labels, activation.

Reference: the schemas `metadata_schema.fbs` (TensorFlow Lite Support) and
`image_segmenter_metadata_schema.fbs` (MediaPipe); the comments name their fields.
"""

import io
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path

from kseg.litert.flatbuffer import Byte, Existing, Table, written

_ACTIVATIONS = ("none", "sigmoid", "softmax")
_LABELS = "labels.txt"
_IMAGE, _NORMALIZATION, _AXIS_LABELS = 2, 1, 2  # of the unions of contents and process units; of files
_PARSER = "1.5.0"  # of the metadata; the first with custom metadata


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
    """

    name: str = ""
    description: str = ""
    mean: float | None = None
    std: float | None = None
    activation: str | None = None
    labels: list | None = None

    def __str__(self):
        lines = [f"{self.name}: {self.description}"]
        normalization = "none" if self.mean is None else f"(value - {self.mean:g}) / {self.std:g}"
        lines.append(f"  normalisation before the file: {normalization}")
        lines.append(f"  activation after it: {self.activation or 'not told'}")
        lines.append(f"  labels: {', '.join(self.labels or []) or 'none'}")
        return "\n".join(lines)


def with_metadata(content, metadata, size, grey=False):
    """Return a `.tflite` file with metadata and labels in it.

    The file gets a new root in front of it, which takes over all that was there; weights stay where they
    are, at their alignment. The labels follow behind it, as a ZIP archive.

    Args:
        content: bytes of the file.
        metadata: `Metadata`.
        size: `(H, W)` in pixels.
        grey: bool, whether pictures have one channel.
    """
    content = _without_archive(content)
    model = Table.root(content, b"TFL3")
    extra = _packed(metadata, size, grey)
    buffers = [Existing(place) for place in model.targets(4)]
    kept = [Existing(table.position) for table in model.tables(6) if table.text(0) != "TFLITE_METADATA"]
    root = {slot: _taken_over(model, slot) for slot in (1, 2, 3, 5, 7, 8, 9)}
    root[0] = model.number(0)  # version
    root[4] = [*buffers, {0: extra}]  # buffers
    root[6] = [*kept, {0: "TFLITE_METADATA", 1: len(buffers)}]  # metadata: name, buffer
    packed = io.BytesIO(written(root, b"TFL3", content))
    if metadata.labels:
        with zipfile.ZipFile(packed, "a") as archive:
            entry = zipfile.ZipInfo(_LABELS)  # with a fixed date: the same model gives the same file
            archive.writestr(entry, "\n".join(metadata.labels) + "\n")
    return packed.getvalue()


def _without_archive(content):
    """Return a file without the labels of an earlier time behind it."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return content[: min((entry.header_offset for entry in archive.infolist()), default=len(content))]


def _taken_over(model, slot):
    target = model.target(slot)
    return None if target is None else Existing(target)


def _packed(metadata, size, grey):
    height, width = size
    image = {
        0: "image",  # name
        1: "Picture, values 0 to 255",
        3: {0: Byte(_IMAGE), 1: {0: Byte(2 if grey else 1), 1: {0: width, 1: height}}},  # content
        5: {0: [255.0], 1: [0.0]},  # stats
    }
    if metadata.mean is not None:
        normalization = {0: [float(metadata.mean)], 1: [float(metadata.std)]}
        image[4] = [{0: Byte(_NORMALIZATION), 1: normalization}]  # process units
    scores = {0: "segmentation", 1: metadata.description}
    if metadata.labels:
        scores[6] = [{0: _LABELS, 1: "The classes, in order", 2: Byte(_AXIS_LABELS)}]  # associated files
    graph = {2: [image], 3: [scores]}
    if metadata.activation is not None:
        options = {0: Byte(_ACTIVATIONS.index(metadata.activation)), 1: "1.0.0"}
        graph[9] = [{0: "SEGMENTER_METADATA", 1: written(options, b"V001")}]  # custom metadata
    model = {0: metadata.name, 1: metadata.description, 3: [graph], 7: _PARSER}
    return written(model, b"M001")


def read_metadata(path):
    """Read the metadata of a `.tflite` file, whoever wrote it.

    Args:
        path: str or `Path`.

    Returns:
        `Metadata`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no `.tflite` file, damaged, or holds no metadata.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    content = path.read_bytes()
    try:
        return _read(content)
    except LookupError:
        raise ValueError(f"{path}: the file holds no metadata") from None
    except (ValueError, struct.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no complete .tflite file ({error}); export it again") from error


def _read(content):
    model = Table.root(content, b"TFL3")
    indices = [table.number(1) for table in model.tables(6) if table.text(0) == "TFLITE_METADATA"]
    root = Table.root(model.tables(4)[indices[0]].content(0), b"M001")
    (graph, *_) = root.tables(3)
    found = Metadata(name=root.text(0), description=root.text(1))
    for unit in [unit for image in graph.tables(2) for unit in image.tables(4)]:
        if unit.number(0, "<B") == _NORMALIZATION:
            (found.mean, *_), (found.std, *_) = (unit.table(1).numbers(slot, "f") for slot in (0, 1))
    for custom in graph.tables(9):
        if custom.text(0) == "SEGMENTER_METADATA":
            found.activation = _ACTIVATIONS[Table.root(custom.content(1), b"V001").number(0, "<b")]
    names = [file.text(0) for scores in graph.tables(3) for file in scores.tables(6)]
    if names:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found.labels = archive.read(names[0]).decode().splitlines()
    return found
