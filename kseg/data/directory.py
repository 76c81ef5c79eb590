"""A folder of pictures and masks as `tf.data`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kseg.data.dataset import SegmentationDataset
from kseg.data.files import read_headers
from kseg.data.labels import read_labels
from kseg.data.loading import PairReader
from kseg.data.options import check_options, reading_options
from kseg.data.pipeline import batches, checked_size
from kseg.data.source import Source
from kseg.types import PathLike


def from_directory(
    root: PathLike,
    split: str = "train",
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = 8,
    augment: Callable | None = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    validation_fraction: float = 0.2,
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
) -> SegmentationDataset:
    """Read a folder of pictures and masks.

    Layouts: `root/train/images`, `root/train/masks`, `root/val/...`; or `root/images` and `root/masks`, which
    are then split. A picture and its mask share their stem. Masks are single-channel PNG (1 to 16 bits, or
    palette indices); pictures JPEG, PNG, BMP, GIF, TIFF or WebP, turned as their EXIF orientation says, of
    8 bits or of 16 that are filled; with `value_range` of any numbers. TIFFs of several bands, of floats and
    of deep numbers need the extra `bands` (`pip install 'kseg[bands]'`), arrays `.npy` do not. Every header
    is read first, so a missing, mismatched or unreadable file fails here and by name; one that is damaged,
    vanishes or changes is named when it is read.

    Args:
        root: the folder.
        split: "train", "val" or another folder of `root`.
        image_size: `None` or `(H, W)`: every picture is brought to this size (it may distort). Needed for
            batches of pictures of several sizes that are not augmented.
        batch_size: `None` for single pictures without a batch axis.
        augment: `None` or `kseg.data.augment(...)`; it gives the size, `image_size` acts before it.
        label_map: `None` or `{id in the file: id}`, for instance `{11: 255}` where void is 11.
        class_names: `None` or one name per class; else `root/classes.txt`, one name per line; else
            "class 0", "class 1", ... up to the largest id in the masks.
        ignore_class: void, one id or several.
        validation_fraction: the share of "val" where the folder has no splits.
        channels: `None` gives the channels that all files have, without alpha, of grey three equal ones; or a
            number: 1 makes grey of colours.
        value_range: for pictures of other numbers than 0–255 in 8 bits: `(low, high)`, what the files hold
            for black and white, each a number or one per channel; `"dtype"`, all that their integers can
            hold; `"percentiles"`, 0.5 and 99.5 % of each channel, measured over the training split.
            Pictures are then float32 of 0–255.
        page: of files of several pages or frames the one to read, from 0.
        shuffle: `None` is true for "train". The last, smaller batch is then left out.
        seed: of shuffling and augmentation.

    Returns:
        `tf.data.Dataset` of `(B, H, W, C)` uint8, with `value_range` float32, and `(B, H, W)` int32, with the
        attributes `class_names`, `num_classes`, `channels` and `value_range` (`None` or `(low, high)`, which
        `kseg.with_value_range` puts into a model), which stay after `.map`, `.cache`, `.take` and every other
        transformation, and `image_paths` and `mask_paths`, which stay while they are true.

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: for files that do not pair, cannot be read or do not fit; it names the file and the mend.
    """
    source = Source(
        root,
        validation_fraction=validation_fraction,
        class_names=class_names,
        label_map=label_map,
        ignore_class=ignore_class,
        channels=channels,
        value_range=value_range,
        page=page,
    )
    return dataset_of(
        source,
        split,
        image_size=image_size,
        batch_size=batch_size,
        augment=augment,
        shuffle=split == "train" if shuffle is None else shuffle,
        seed=seed,
    )


def dataset_of(
    source: Source,
    split: str,
    *,
    image_size: tuple[int, int] | None,
    batch_size: int | None,
    augment: Callable | None,
    shuffle: bool,
    seed: int,
) -> SegmentationDataset:
    """Return the dataset of a split of a source; arguments as for `from_directory`."""
    if image_size is not None:
        image_size = checked_size("image_size", image_size)
    check_options(source.channels, source.value_range, source.page)
    files = source.files(split)
    image_headers, mask_headers = read_headers(files, source.page, source.value_range is not None)
    sizes = {header.size for header in image_headers}
    if len(sizes) > 1 and image_size is None and augment is None and batch_size not in (None, 1):
        raise ValueError(
            f"{source.root}: pictures of {len(sizes)} sizes cannot share a batch; give image_size, augment "
            f"or batch_size=1"
        )
    labels = read_labels(source)
    options = reading_options(
        *(source.channels, source.value_range, source.page),
        *(files.images, image_headers, source.training_images(split)),
    )
    read = PairReader(files, image_headers, mask_headers, labels, options)
    return batches(
        len(files),
        read,
        class_names=labels.class_names,
        size=sizes.pop() if len(sizes) == 1 else None,
        image_size=image_size,
        augment=augment,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        channels=options.channels or 3,
        dtype=options.dtype,
        value_range=options.value_range and options.value_range.as_tuple(),
        image_paths=[str(path) for path in files.images],
        mask_paths=[str(path) for path in files.masks],
    )
