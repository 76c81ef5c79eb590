"""A folder of pictures and masks as `tf.data`."""

import os
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from kseg.data.dataset import SegmentationDataset
from kseg.data.files import find_files, read_headers
from kseg.data.labels import read_labels
from kseg.data.pipeline import batches, checked_size
from kseg.data.reading import Watched, are_plain, load_image, load_mask, read_image, read_mask
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
    shuffle: bool | None = None,
    seed: int = 0,
) -> SegmentationDataset:
    """Read a folder of pictures and masks.

    Layouts: `root/train/images`, `root/train/masks`, `root/val/...`; or `root/images` and `root/masks`, which
    are then split. A picture and its mask share their stem. Masks are single-channel PNG (1 to 16 bits, or
    palette indices); pictures JPEG, PNG, BMP, TIFF or WebP, turned as their EXIF orientation says, of 8 bits
    or of 16 that are filled, grey or RGB, with alpha or without; what else there is (floats, 12 bits in 16,
    near infrared, several pages) is refused. Every header is read first, so a missing, mismatched or
    unreadable file fails here and by name; one that is damaged, vanishes or changes is named when it is read.

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
        shuffle: `None` is true for "train". The last, smaller batch is then left out.
        seed: of shuffling and augmentation.

    Returns:
        `tf.data.Dataset` of `(B, H, W, 3)` uint8 and `(B, H, W)` int32, with the attributes `class_names` and
        `num_classes`, which stay after `.map`, `.cache`, `.take` and every other transformation, and
        `image_paths` and `mask_paths`, which stay while they are true.

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: for files that do not pair, cannot be read or do not fit; it names the file and the mend.
    """
    if image_size is not None:
        image_size = checked_size("image_size", image_size)
    pairs = find_files(root, split, validation_fraction)
    image_headers, mask_headers = read_headers(pairs)
    sizes = {header.size for header in image_headers}
    if len(sizes) > 1 and image_size is None and augment is None and batch_size not in (None, 1):
        raise ValueError(
            f"{root}: pictures of {len(sizes)} sizes cannot share a batch; give image_size, augment or "
            f"batch_size=1"
        )
    labels = read_labels(root, class_names, label_map, ignore_class, validation_fraction)
    images = Watched(pairs.images, image_headers, read_image)
    masks = Watched(pairs.masks, mask_headers, read_mask)

    def load(image_path, mask_path):
        image_plain, mask_plain = are_plain(image_path, images, mask_path, masks)
        image = load_image(image_path, image_plain, images)
        mask = labels.apply(load_mask(mask_path, mask_plain, masks), mask_path)
        if image_size is not None:
            image, mask = resize_pair(image, mask, image_size)
        elif len(sizes) == 1:
            (size,) = sizes
            image, mask = tf.ensure_shape(image, (*size, 3)), tf.ensure_shape(mask, size)
        return image, mask

    items = (
        [os.fsencode(path) for path in pairs.images],
        [os.fsencode(path) for path in pairs.masks],
    )
    return batches(
        items,
        load,
        class_names=labels.class_names,
        augment=augment,
        batch_size=batch_size,
        shuffle=split == "train" if shuffle is None else shuffle,
        seed=seed,
        image_paths=[str(path) for path in pairs.images],
        mask_paths=[str(path) for path in pairs.masks],
    )


def resize_pair(image: tf.Tensor, mask: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the picture (bilinear, antialiased, uint8) and the mask (nearest) at `size`, `(H, W)`."""
    image = tf.image.resize(image, size, antialias=True)
    mask = tf.image.resize(mask[..., None], size, method="nearest")[..., 0]
    return tf.saturate_cast(tf.round(image), tf.uint8), mask
