"""Crops of pictures that are too large for memory: only what a crop shows is read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from kseg.data.augmentation import Augmentation
from kseg.data.loading import PairReader
from kseg.data.segments import Window

_REGION = 2  # times the largest window of a crop: where a class is looked for in a large mask


@dataclass(frozen=True)
class OnDisk:
    """A picture or mask on disk; to the augmentation, which takes one window of it, it is an array.

    Attributes:
        read: function of a window that returns its pixels.
        shape: as of an array.
        dtype: of what is read.
    """

    read: Callable[[Window], np.ndarray]
    shape: tuple
    dtype: np.dtype

    def __getitem__(self, window: Window) -> np.ndarray:
        return self.read(window)

    def part(self, window: Window) -> OnDisk:
        """Return a window of it, not yet read."""
        rows, columns = window

        def read(inner: Window) -> np.ndarray:
            return self.read((_moved(inner[0], rows.start), _moved(inner[1], columns.start)))

        size = (rows.stop - rows.start, columns.stop - columns.start)
        return OnDisk(read, (*size, *self.shape[2:]), self.dtype)


def _moved(part, start):
    return slice(part.start + start, part.stop + start)


class CropReader:
    """Reads augmented crops by number.

    A picture that fits into memory is one item, decoded as a whole. One that does not is as many items as
    crops cover it, so that an epoch sees it once on average; each is a crop of its own.

    Args:
        pairs: reads them.
        augment: what makes a crop of a pair.

    Attributes:
        files: the number of the pair of each item.
        size: `(H, W)` of a crop.
    """

    def __init__(self, pairs: PairReader, augment: Augmentation) -> None:
        self.pairs, self.augment = pairs, augment
        settings = augment.settings
        self.size = settings.crop_size
        covered = math.prod(settings.crop_size) / math.prod(settings.scale)  # pixels, at the mean zoom
        headers = pairs.images.headers
        counts = [math.ceil(math.prod(each.size) / covered) if each.is_large else 1 for each in headers]
        self.files = np.repeat(np.arange(len(headers)), counts)

    def __len__(self) -> int:
        return len(self.files)

    def __call__(self, item: int, seed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return picture `(H, W, C)` and ids `(H, W)` int32 of the crop of an item that a seed draws.

        Raises:
            ValueError: as `PairReader`.
        """
        index = int(self.files[item])
        is_large = self.pairs.images.headers[index].is_large
        image, mask = self._on_disk(index, seed) if is_large else self.pairs(index)
        return self.augment.on_arrays(image, mask, seed)

    def _on_disk(self, index, seed):
        """Return picture and mask; of the mask a region, read, where the crop looks for a class."""
        pairs, size = self.pairs, self.pairs.images.headers[index].size
        options = pairs.options
        pairs.check_unchanged(index)
        channels = options.channels or 3
        image = OnDisk(partial(pairs.image_window, index), (*size, channels), np.dtype(options.dtype))
        mask = OnDisk(partial(pairs.mask_window, index), size, np.dtype("int32"))
        settings = self.augment.settings
        if settings.class_weights is None:
            return image, mask
        draw = np.random.default_rng([*np.asarray(seed).tolist(), 1])

        def within(length, crop):
            side = min(length, _REGION * math.ceil(crop / settings.scale[0]))
            start = int(draw.integers(0, length - side + 1))
            return slice(start, start + side)

        window = within(size[0], settings.crop_size[0]), within(size[1], settings.crop_size[1])
        return image.part(window), mask[window]
