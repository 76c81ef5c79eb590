"""Data sets of TensorFlow Datasets: any that holds pictures and masks."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kseg.checks import unknown_name
from kseg.data.dataset import SegmentationDataset
from kseg.data.labels import Labels, checked_labels
from kseg.data.pipeline import batches, checked_size
from kseg.masks import void_ids
from kseg.types import PathLike

_MASKS = ("segmentation_mask", "segmentation_label", "mask", "annotation", "segmentation", "label", "labels")
_TRAIN_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # of Cityscapes
_CITYSCAPES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
)
# What the ids of a data set mean where it does not say so itself: `(label_map, class_names)`.
KNOWN: dict[str, tuple[dict[int, int], Sequence[str] | None]] = {
    "oxford_iiit_pet": ({1: 0, 2: 1, 3: 2}, ("pet", "background", "border")),
    "cityscapes": (
        {id: _TRAIN_IDS.index(id) if id in _TRAIN_IDS else 255 for id in range(34)},
        _CITYSCAPES,
    ),
    "scene_parse150": (
        {id: id - 1 if id else 255 for id in range(151)},
        tuple(f"class {id}" for id in range(150)),
    ),
}


def from_tfds(
    name: str | PathLike | Any,
    split: str = "train",
    *,
    data_dir: PathLike | None = None,
    download: bool = False,
    as_supervised: bool = False,
    image_key: str | None = None,
    mask_key: str | None = None,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = 8,
    augment: Callable | None = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    shuffle: bool | None = None,
    seed: int = 0,
) -> SegmentationDataset:
    """Read a data set of TensorFlow Datasets that holds pictures and masks.

    Every example can be read by its number, so epochs are shuffled whole and repeated exactly. The ids of
    `oxford_iiit_pet` (1 to 3), `cityscapes` (34 ids, of which 19 are trained on) and `scene_parse150`
    (0 is void) are brought to 0, 1, 2, ... unless a `label_map` is given.

    Args:
        name: of a registered data set, for instance `"oxford_iiit_pet:4.*.*"`; the folder of a prepared one;
            or a `tfds.core.DatasetBuilder`.
        split: as TFDS writes it, for instance `"train[:80%]"`.
        data_dir: where data sets are kept, `None` for the place that TFDS takes.
        download: download and prepare it where it is not there.
        as_supervised: take the two features that the data set names as input and target.
        image_key, mask_key: of the features; `None` finds them where there is no doubt.
        image_size: `None` or `(H, W)`: every picture is brought to this size.
        batch_size: `None` for single pictures without a batch axis.
        augment: `None` or `kseg.data.augment(...)`; it gives the size, `image_size` acts before it.
        label_map: `None` or `{id in the data set: id}`.
        class_names: `None` or one name per class; else those of the data set, else "class 0", "class 1", ...
            up to the largest id in this split.
        ignore_class: void, one id or several.
        shuffle: `None` is true where the split begins with "train". The last, smaller batch is then left out.
        seed: of shuffling and augmentation.

    Returns:
        `tf.data.Dataset` of `(B, H, W, C)` uint8 and `(B, H, W)` int32, with the attributes of
        `kseg.data.from_directory`'s, but for those of files.

    Raises:
        FileNotFoundError: if the data set is not downloaded.
        ValueError: for an unknown name, split or feature; for pictures or ids that do not fit, then naming
            the example.
    """
    if image_size is not None:
        image_size = checked_size("image_size", image_size)
    builder = _builder(name, data_dir, download)
    if split.split("[")[0] not in builder.info.splits and "+" not in split:
        raise unknown_name("split", split, list(builder.info.splits))
    features = builder.info.features
    keys = _keys(builder, as_supervised, image_key, mask_key)
    channels = _checked_picture(builder.info.name, keys[0], features[keys[0]])
    examples = _examples(builder, split)
    where = f"{builder.info.full_name}, {split}"

    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        example = examples(int(index))
        return np.asarray(example[keys[0]]), _ids(example[keys[1]], f"{where}, example {int(index)}")

    known_map, known_names = KNOWN.get(builder.info.name, ({}, None))
    label_map = known_map if label_map is None else label_map
    names = class_names or known_names or _names(features[keys[1]])
    if names is None:
        ids = (np.unique(pair(index)[1]).tolist() for index in range(len(examples)))
        names = _numbered({id for found in ids for id in found}, label_map, ignore_class)
    labels = checked_labels(names, label_map, ignore_class)
    return batches(
        len(examples),
        _reader(pair, labels, where),
        class_names=labels.class_names,
        channels=channels,
        image_size=image_size,
        augment=augment,
        batch_size=batch_size,
        shuffle=split.startswith("train") if shuffle is None else shuffle,
        seed=seed,
    )


def _reader(pair, labels: Labels, where: str):
    def read(index):
        image, mask = pair(index)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"{where}, example {index}: the mask has {mask.shape[1]}×{mask.shape[0]} pixels, its picture "
                f"{image.shape[1]}×{image.shape[0]} (width×height); make them the same"
            )
        return image, labels.mapped(mask, f"{where}, example {index}")

    return read


def _builder(name, data_dir, download):
    import tensorflow_datasets as tfds

    if isinstance(name, tfds.core.DatasetBuilder):
        builder = name
    elif Path(name).is_dir() and (Path(name) / "dataset_info.json").is_file():
        builder = tfds.builder_from_directory(name)
    else:
        try:
            builder = tfds.builder(str(name), data_dir=data_dir)
        except tfds.core.registered.DatasetNotFoundError:
            plain = str(name).split("/")[0].split(":")[0]
            raise unknown_name("data set", plain, tfds.list_builders()) from None
    if not builder.is_prepared():
        if not download:
            raise FileNotFoundError(
                f"{builder.info.full_name}: is not in {builder.data_dir}; give download=True or data_dir="
            )
        builder.download_and_prepare()
    return builder


def _keys(builder, as_supervised, image_key, mask_key):
    """Return the names of the features of picture and mask."""
    import tensorflow_datasets as tfds

    features, name = builder.info.features, builder.info.name
    for argument, key in (("image_key", image_key), ("mask_key", mask_key)):
        if key is not None and key not in features:
            raise unknown_name(argument, key, list(features))
    if as_supervised:
        if not builder.info.supervised_keys or len(builder.info.supervised_keys) != 2:
            raise ValueError(f"{name}: names no input and target; leave as_supervised= out, give image_key=")
        return builder.info.supervised_keys
    pictures = [key for key, each in features.items() if isinstance(each, tfds.features.Image)]
    others = [
        key for key, each in features.items() if len(getattr(each, "shape", None) or ()) in (2, 3)
    ]  # an array of ids is a mask too
    masks = [key for key in _MASKS if key in others]
    masks += [key for key in pictures if isinstance(features[key], tfds.features.LabeledImage)]
    mask_key = mask_key or (masks[0] if masks else None)
    pictures = [key for key in pictures if key not in {mask_key, *masks}]
    for first in ("image", "image_left"):
        pictures = [first] if first in pictures else pictures
    if mask_key is None or (image_key is None and len(pictures) != 1):
        raise ValueError(
            f"{name}: which features are picture and mask is not clear among {sorted(features)}; give "
            "image_key= and mask_key=, if it has masks"
        )
    return image_key or pictures[0], mask_key


def _checked_picture(name, key, feature):
    """Return the number of channels of pictures of 8 bits."""
    dtype, channels = np.dtype(feature.np_dtype), feature.shape[-1]
    if dtype != np.uint8 or len(feature.shape) != 3 or channels is None:
        raise ValueError(
            f"{name}: {key!r} holds {dtype} {feature.shape}; from_tfds reads pictures (H, W, C) of 8 bits"
        )
    return channels


def _ids(mask, where):
    """Return `(H, W)` of a mask `(H, W)`, `(H, W, 1)`, or of channels that are all the same."""
    mask = np.asarray(mask)
    if mask.ndim == 3 and (mask == mask[..., :1]).all():
        mask = mask[..., 0]
    if mask.ndim != 2 or mask.dtype.kind not in "iub":
        raise ValueError(f"{where}: a mask must be integer ids (H, W), got {mask.dtype} {mask.shape}")
    return mask.astype("int32")


def _names(feature):
    """Return the names that a feature of labelled pictures gives its ids, `None` for others."""
    names = getattr(feature, "names", None)
    count = getattr(feature, "num_classes", None)
    return names or (None if not count else [f"class {number}" for number in range(count)])


def _numbered(ids, label_map, ignore_class):
    found = {label_map.get(id, id) for id in ids} - set(void_ids(ignore_class))
    highest = max(found, default=-1)
    if not 0 < highest < 255:
        raise ValueError(
            f"the masks hold ids {sorted(ids)}, void is {ignore_class}; give class_names, and a label_map "
            "for ids that are no class"
        )
    return [f"class {number}" for number in range(highest + 1)]


def _examples(builder, split):
    """Return a sequence-like reader: `len` is the number of examples, a call gives that of a number."""
    if builder.info.file_format.value == "array_record":
        return _Source(builder.as_data_source(split))
    return _Records(builder, split)


class _Source:
    """Examples of a data set whose files are made to be read by number."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, index: int) -> dict:
        return self.source[index]


class _Records:
    """Examples in TFRecord files, read by number: where each begins is noted once.

    Reference: the TFRecord format, tensorflow.org/tutorials/load_data/tfrecord: length (8 bytes), its
    checksum (4), the example, its checksum (4).
    """

    def __init__(self, builder: Any, split: str) -> None:
        self.features = builder.info.features
        self.files: list[str] = []
        self.starts: list[list[int]] = []  # of each file, where the examples of this split begin
        self.counts = [0]
        for part in builder.info.splits[split].file_instructions:
            take = None if part.take < 0 else part.skip + part.take
            starts = _starts(part.filename, take)[part.skip :]
            self.files.append(part.filename)
            self.starts.append(starts)
            self.counts.append(self.counts[-1] + len(starts))

    def __len__(self) -> int:
        return self.counts[-1]

    def __call__(self, index: int) -> dict:
        part = bisect.bisect_right(self.counts, index) - 1
        with Path(self.files[part]).open("rb") as file:
            file.seek(self.starts[part][index - self.counts[part]])
            (size,) = struct.unpack("<Q", file.read(8))
            file.seek(4, 1)
            content = file.read(size)
        if len(content) < size:
            raise ValueError(f"{self.files[part]}: is cut short; prepare the data set anew")
        return self.features.deserialize_example_np(content)


def _starts(path, stop):
    """Return the places where the records of a file begin, the first `stop` of them."""
    starts: list[int] = []
    with Path(path).open("rb") as file:
        while stop is None or len(starts) < stop:
            place, head = file.tell(), file.read(8)
            if len(head) < 8:
                break
            starts.append(place)
            file.seek(struct.unpack("<Q", head)[0] + 8, 1)
    return starts
