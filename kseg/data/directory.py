"""A folder of pictures and masks as `tf.data`."""

from collections.abc import Mapping, Sequence
from typing import Any

from kseg.data.colors import Colors
from kseg.data.dataset import SegmentationDataset
from kseg.data.opening import dataset_of
from kseg.data.source import Source
from kseg.types import PathLike


def from_directory(
    root: PathLike,
    split: str = "train",
    *,
    layout: str | None = None,
    images: str | None = None,
    masks: str | None = None,
    split_file: str | None = None,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = 8,
    augment: Any = None,
    cache: PathLike | None = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    colors: Colors = None,
    validation_fraction: float = 0.2,
    group: str | None = None,
    fold: tuple[int, int] | None = None,
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    shuffle: bool | None = None,
    seed: int = 0,
) -> SegmentationDataset:
    """Read a folder of pictures and masks.

    Layouts: `root/train/images`, `root/train/masks`, `root/val/...`, or `root/images` and `root/masks`, which
    are then split, a picture and its mask of one stem, with folders inside or without; those of
    `kseg.data.list_layouts()`, which are found by themselves; and any other by two patterns. Masks hold
    ids (PNG of 1 to 16 bits, palette indices, BMP, GIF, TIFF, `.npy`) or, with `colors`, colours; pictures
    are JPEG, PNG, BMP, GIF, TIFF or WebP, of 8 bits or of 16 that are filled; with `value_range` of any
    numbers. TIFFs of several bands, of floats and of deep numbers need the extra `bands`
    (`pip install 'kseg[bands]'`), arrays `.npy` do not. Both turn as their EXIF orientation says. Hidden and
    stray files do not count. Every header is read first, so a missing, mismatched or unreadable file fails
    here and by name; one that is damaged, vanishes or changes is named when it is read.

    Pictures above 89 million pixels are read by windows, for crops: give `augment=kseg.data.augment(...)`,
    and save them and their masks as TIFF in tiles or strips, or as `.npy`. Of such a picture only what a crop
    shows is read, and it counts as as many items of an epoch as crops cover it.

    Args:
        root: the folder.
        split: "train", "val" or another one. What is not there by this name is looked for by others in use,
            "val" by "valid" and "validation".
        layout: `None`, which finds it, or one of `kseg.data.list_layouts()`. It has patterns, a `label_map`
            and `class_names`, each of which counts where you give none; its map goes with as many names as
            it has, and, where it is not named, with its own masks.
        images, masks: `None` or patterns of paths below `root`, with `/`: `{split}` is the name of the split,
            `*` any text in a name, `**` any number of folders. What the stars match pairs the files:
            `images="leftImg8bit/{split}/**/*_leftImg8bit.png"` and
            `masks="gtFine/{split}/**/*_gtFine_labelIds.png"`. A last star stands for every suffix too. Where
            each class has a file of its own, `{class}` stands for its name, as in `masks="*/*_{class}.png"`:
            the names of `class_names` from class 1 on, or those that are there, sorted; a later class lies
            above. `kseg.data.check` tells where the order matters.
        split_file: `None` or the path of the lists below `root`, `"lists/{split}.txt"`, a picture on each
            line, by its path, name or stem; of a list without `{split}` "train" and "val" are drawn.
        image_size: `None` or `(H, W)`: every picture is brought to this size (it may distort). Needed for
            batches of pictures of several sizes that are not augmented.
        batch_size: `None` for single pictures without a batch axis.
        augment: `None`; `kseg.data.augment(...)`; a transform of albumentations; a Keras preprocessing layer;
            or a function of `(image, mask)` or `(image, mask, seed)`, two int64 that fix what it draws. It
            gives the size, `image_size` acts before it. What is not kseg's own is tried on a few pairs first:
            pictures stay 0–255, ids stay ids, and one size shares a batch. What Keras' layers paint beyond
            the picture becomes void; of albumentations say `fill_mask=255`, and of float pictures `fill` in
            0–1. What draws by itself, and not from `seed`, is not repeated by a resumed training.
        cache: `None`; "memory", which keeps decoded pictures and masks; or a folder, which keeps them for
            other runs too and may be deleted at any time. Files that change are read anew.
        label_map: `None` or `{id in the file: id}`, for instance `{11: 255}` where void is 11.
        class_names: `None` or one name per class; else `root/classes.txt`, one name per line; else
            "class 0", "class 1", ... up to the largest id in the masks.
        ignore_class: void, one id or several.
        colors: `None`, or of masks of colours `{name: (r, g, b)}`, several for a name in a list, or a file of
            them: a CSV, CamVid's `label_colors.txt`, CVAT's `labelmap.txt`. Classes are numbered in its
            order; names such as "void" and "unlabelled" are void.
        validation_fraction: the share of "val" where nothing tells splits. A hash of the names draws it, the
            same files every time.
        group: `None` or a regular expression, searched in the path of each picture below `root`, that finds
            what neighbours share, such as `r"patient\\d+"`; they are then all in "train" or all in "val".
        fold: `None` or `(i, k)`, the `i`-th of `k` folds: it is "val", the others are "train", and over all
            `i` every picture is in "val" once. Folds divide the pictures of "train", or of a folder without
            splits all; what the folder has as "val" is left out. A hash of the names draws them, as it draws
            `validation_fraction`, and `group` stays whole here too.
        channels: `None` gives the channels that all files have, without alpha, of grey three equal ones; or a
            number: 1 makes grey of colours.
        value_range: for pictures of other numbers than 0–255 in 8 bits: `(low, high)`, what the files hold
            for black and white, each a number or one per channel; `"dtype"`, all that their integers can
            hold; `"percentiles"`, 0.5 and 99.5 % of each channel, measured over the training split.
            Pictures are then float32 of 0–255.
        page: of pictures and masks of several pages or frames the one to read, from 0.
        shuffle: `None` is true for "train". The last, smaller batch is then left out.
        seed: of shuffling and augmentation.

    Returns:
        `tf.data.Dataset` of `(B, H, W, C)` uint8, with `value_range` float32, and `(B, H, W)` int32, with the
        attributes `class_names`, `num_classes`, `channels`, `value_range` (`None` or `(low, high)`, which
        `kseg.with_value_range` puts into a model) and `layout` (its name, `None` of patterns), which stay
        after `.map`, `.cache`, `.take` and every other transformation, and `image_paths` and `mask_paths`,
        which stay while they are true.

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: for files that do not pair, cannot be read or do not fit; it names the file and the mend.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for patient in ("p1", "p2"):
        ...     Image.new("RGB", (8, 6)).save(root / f"{patient}.jpg")
        ...     Image.new("L", (8, 6), 1).save(root / f"{patient}_mask.png")
        >>> names = ["sea", "land"]
        >>> data = from_directory(root, "val", images="*.jpg", masks="*_mask.png", class_names=names)
        >>> [image.shape for image, mask in data]
        [TensorShape([1, 6, 8, 3])]
    """
    source = Source(
        root,
        validation_fraction=validation_fraction,
        class_names=class_names,
        label_map=label_map,
        ignore_class=ignore_class,
        layout=layout,
        images=images,
        masks=masks,
        split_file=split_file,
        group=group,
        fold=fold,
        colors=colors,
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
        cache=cache,
        shuffle=split == "train" if shuffle is None else shuffle,
        seed=seed,
    )
