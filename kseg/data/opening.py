"""A data set on disk is opened: its files are looked at, and pairs are read by number from then on."""

from typing import Any

import numpy as np

from kseg.checks import checked_size
from kseg.data.augmentation import Augmentation
from kseg.data.caching import CachedReader, check_cache
from kseg.data.crops import CropReader
from kseg.data.dataset import SegmentationDataset
from kseg.data.files import read_headers
from kseg.data.labels import read_labels
from kseg.data.loading import PairReader
from kseg.data.options import check_options, reading_options
from kseg.data.pipeline import batches
from kseg.data.source import Source
from kseg.types import PathLike


def dataset_of(
    source: Source,
    split: str,
    *,
    image_size: tuple[int, int] | None,
    batch_size: int | None,
    augment: Any,
    cache: PathLike | None,
    shuffle: bool,
    seed: int,
) -> SegmentationDataset:
    """Return the dataset of a split of a source; arguments as for `from_directory`."""
    if image_size is not None:
        image_size = checked_size("image_size", image_size)
    check_options(source.channels, source.value_range, source.page)
    files = source.files(split)
    windows = isinstance(augment, Augmentation) and image_size is None
    deep = source.value_range is not None
    image_headers, mask_headers = read_headers(files, source.page, deep, windows)
    sizes = {header.size for header in image_headers}
    if len(sizes) > 1 and image_size is None and augment is None and batch_size not in (None, 1):
        raise ValueError(
            f"{source.root}: pictures of {len(sizes)} sizes cannot share a batch; give image_size, augment "
            f"or batch_size=1"
        )
    labels = read_labels(source)
    training = source.training_images(split) if source.value_range == "percentiles" else []
    options = reading_options(
        *(source.channels, source.value_range, source.page), files.images, image_headers, training
    )
    pairs = PairReader(files, image_headers, mask_headers, labels, options)
    crops = None
    if isinstance(augment, Augmentation) and any(header.is_large for header in image_headers):
        crops = CropReader(pairs, augment)
        if cache is not None:
            raise ValueError(f"{source.root}: holds pictures too large for memory; leave cache= out")
    items = list(range(len(files))) if crops is None else crops.files.tolist()
    dataset = batches(
        len(items),
        crops or _kept(pairs, files, image_headers, cache, (options, labels)),
        class_names=labels.class_names,
        ignore_class=labels.ignore_class,
        size=crops.size if crops else sizes.pop() if len(sizes) == 1 else None,
        image_size=image_size,
        augment=augment,
        seeded=crops is not None,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        channels=options.channels or 3,
        dtype=options.dtype,
        value_range=options.value_range and options.value_range.as_tuple(),
        image_paths=[str(files.images[item]) for item in items],
        mask_paths=[_told(files.masks[item]) for item in items],
    )
    dataset.layout = source.layout
    return dataset


def _kept(pairs, files, image_headers, cache, reading):
    """Return what reads the pairs, by a cache where one is asked for."""
    options, _ = reading
    pixels = sum(height * width for height, width in (header.size for header in image_headers))
    check_cache(cache, pixels * ((options.channels or 3) * np.dtype(options.dtype).itemsize + 1))
    return pairs if cache is None else CachedReader(pairs, files.images, files.masks, cache, reading)


def _told(path):
    """Return a path as str, that of a mask with a file for each class as a tuple of them."""
    if isinstance(path, tuple):
        return tuple(None if each is None else str(each) for each in path)
    return str(path)
