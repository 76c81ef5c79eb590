"""Pictures and masks that two lists name, as `tf.data`."""

from collections.abc import Mapping, Sequence
from typing import Any

from kseg.data.class_masks import MaskPath
from kseg.data.colors import Colors
from kseg.data.dataset import SegmentationDataset
from kseg.data.files import paired
from kseg.data.opening import dataset_of
from kseg.data.source import Source
from kseg.types import PathLike


def from_files(
    images: Sequence[PathLike],
    masks: Sequence[MaskPath],
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = 8,
    augment: Any = None,
    cache: PathLike | None = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    colors: Colors = None,
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> SegmentationDataset:
    """Read pictures and masks that two lists name, wherever they lie.

    Prefer it to `from_directory` where a table, a split list or a search of one's own says what belongs
    together. The kinds of files and the checks are the same.

    Args:
        images: paths of the pictures.
        masks: paths of their masks, in the same order; where each class has a file of its own, tuples of
            them from class 1 on, `None` for a class that is not in the picture. A later class lies above.
        class_names: `None` or one name per class; else "class 0", "class 1", ... up to the largest id in
            these masks: give names where several lists must have the same classes.
        value_range: as for `from_directory`; percentiles are measured on these pictures.
        shuffle: draw an order for every epoch; the last, smaller batch is then left out.
        image_size, batch_size, augment, cache, label_map, ignore_class, colors, channels, page, seed: as for
            `from_directory`.

    Returns:
        `tf.data.Dataset`, as of `from_directory`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for lists that do not pair, and files as for `from_directory`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.new("RGB", (8, 6)).save(folder / "a.jpg")
        >>> Image.new("L", (8, 6), 1).save(folder / "a_mask.png")
        >>> data = from_files([folder / "a.jpg"], [folder / "a_mask.png"], class_names=["sea", "land"])
        >>> [(image.shape, int(mask[0, 0, 0])) for image, mask in data]
        [(TensorShape([1, 6, 8, 3]), 1)]
    """
    source = Source(
        "masks",
        class_names=class_names,
        label_map=label_map,
        ignore_class=ignore_class,
        colors=colors,
        channels=channels,
        value_range=value_range,
        page=page,
        given=paired(images, masks),
    )
    return dataset_of(
        source,
        "files",
        image_size=image_size,
        batch_size=batch_size,
        augment=augment,
        cache=cache,
        shuffle=shuffle,
        seed=seed,
    )
