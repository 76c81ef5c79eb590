"""Data sets of TensorFlow Datasets: any that holds pictures and masks."""

from __future__ import annotations

import bisect
import re
import struct
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kseg.checks import checked_size, unknown_name
from kseg.data.dataset import SegmentationDataset
from kseg.data.diagnosis import diagnose
from kseg.data.file_errors import first_line
from kseg.data.headers import FORMATS
from kseg.data.labels import checked_labels
from kseg.data.mask_files import unscaled
from kseg.data.pipeline import batches
from kseg.data.reading import check_pixels, damaged, in_channels
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
    augment: Any = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    shuffle: bool | None = None,
    seed: int = 0,
) -> SegmentationDataset:
    """Read a data set of TensorFlow Datasets that holds pictures and masks.

    Every example can be read by its number, so epochs are shuffled whole and repeated exactly. Pictures are
    looked through for damage, and lie as TensorFlow reads them: not turned by EXIF. The ids of
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
        augment: as for `from_directory`; it gives the size, `image_size` acts before it.
        label_map: `None` or `{id in the data set: id}`.
        class_names: `None` or one name per class; else, without a `label_map`, those of the data set; else
            "class 0", "class 1", ... up to the largest id in this split: give names where a split may lack
            a class. Ids that begin with 1 are then warned of, those with gaps are an error.
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
    _check_split(builder, split)
    features = builder.info.features
    keys = _keys(builder, as_supervised, image_key, mask_key)
    channels = _checked_picture(builder.info.name, keys[0], features[keys[0]])
    pairs = _Pairs(_examples(builder, split, keys), keys, channels, f"{builder.info.full_name}, {split}")
    known_map, names = KNOWN.get(builder.info.name, ({}, _names(features[keys[1]])))
    if class_names is not None or label_map is not None:  # the known names are those of other ids
        names = class_names
    label_map = known_map if label_map is None else label_map
    if names is None:
        names = _numbered(pairs, label_map, ignore_class)
    labels = checked_labels(names, label_map, ignore_class)

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = pairs(int(index))
        return image, labels.mapped(mask, pairs.name(index))

    return batches(
        len(pairs),
        read,
        class_names=labels.class_names,
        ignore_class=labels.ignore_class,
        channels=channels,
        image_size=image_size,
        augment=augment,
        batch_size=batch_size,
        shuffle=split.startswith("train") if shuffle is None else shuffle,
        seed=seed,
    )


class _Pairs:
    """Pictures and masks by number, as the data set has them.

    Args:
        examples: function of a number that returns an example; what is encoded in it is bytes.
        keys: names of the features of picture and mask.
        channels: of a picture.
        where: what errors call the data set and its split.
    """

    def __init__(self, examples: Any, keys: tuple[str, str], channels: int, where: str) -> None:
        self.examples, self.keys, self.channels, self.where = examples, keys, channels, where
        self.sound: set[int] = set()

    def __len__(self) -> int:
        return len(self.examples)

    def name(self, index: int) -> str:
        """Return what errors call an example."""
        return f"{self.where}, example {index}"

    def __call__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a picture `(H, W, channels)` uint8 and ids `(H, W)` int32."""
        example, name = self.examples(index), self.name(index)
        image, mask = (example[key] for key in self.keys)
        if index not in self.sound:
            for content in (image, mask):
                if isinstance(content, bytes):
                    check_pixels(name, content)
            self.sound.add(index)
        image = _decoded(image, name, lambda opened: in_channels(opened, self.channels))
        if isinstance(mask, bytes):  # of a PNG the bits of a sample stand in its 25th byte
            bits = mask[24] if mask[:4] == b"\x89PNG" else 8
            mask = _decoded(mask, name, lambda opened: unscaled(np.asarray(opened), opened, bits))
        mask = _ids(mask, name)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"{name}: the mask has {mask.shape[1]}×{mask.shape[0]} pixels, its picture "
                f"{image.shape[1]}×{image.shape[0]} (width×height); make them the same"
            )
        return image, mask


def _decoded(content, name, pixels_of):
    """Return what a function gives of the image in some bytes."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return pixels_of(image)
    except Exception as error:  # of any type: Pillow's decoders raise what they stumble on
        raise damaged(name, "picture", error) from error


def _check_split(builder, split):
    try:
        _ = builder.info.splits[split]
    except (KeyError, ValueError) as error:
        names = re.findall(r"(?:^|\+)([^+\[]+)", split)
        wrong = next((name for name in names if name not in (*builder.info.splits, "all")), None)
        if wrong is None:
            raise ValueError(f"split {split!r}: {error}") from error
        raise unknown_name("split", wrong, list(builder.info.splits)) from None


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


def _numbered(pairs, label_map, ignore_class):
    """Return a name for each id up to the largest one; tell of ids that do not look like 0, 1, 2, ..."""
    ids: Counter = Counter()
    for index in range(len(pairs)):
        in_mask, counts = np.unique(pairs(index)[1], return_counts=True)
        ids.update(dict(zip(in_mask.tolist(), counts.tolist(), strict=True)))
    diagnosis = None if label_map else diagnose(ids, None, ignore_class)
    if diagnosis:
        text = f"{pairs.where}: {diagnosis.text}, or give class_names"
        if diagnosis.certain:
            raise ValueError(text)
        warnings.warn(text, stacklevel=3)
    found = {label_map.get(id, id) for id in ids} - set(void_ids(ignore_class))
    highest = max(found, default=-1)
    if not 0 < highest < 255:
        raise ValueError(
            f"the masks hold ids {sorted(ids)}, void is {ignore_class}; give class_names, and a label_map "
            "for ids that are no class"
        )
    return [f"class {number}" for number in range(highest + 1)]


def _examples(builder, split, keys):
    """Return what reads examples: `len` is their number, a call gives that of a number, images as bytes."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    encoded = {
        key: tfds.decode.SkipDecoding() for key in keys if isinstance(features[key], tfds.features.Image)
    }
    if builder.info.file_format.value == "array_record":
        return _Source(builder.as_data_source(split, decoders=encoded))
    return _Records(builder, split, encoded)


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

    def __init__(self, builder: Any, split: str, decoders: dict[str, Any]) -> None:
        self.features, self.decoders = builder.info.features, decoders
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
        try:
            return self.features.deserialize_example_np(content, decoders=self.decoders)
        except Exception as error:  # of any type, as parsers of protocol buffers raise
            raise ValueError(
                f"{self.files[part]}: is damaged ({first_line(error)}); prepare the data set anew"
            ) from error


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
