"""Pictures and masks in a folder: found, divided into splits, checked by header."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kseg.checks import unknown_name
from kseg.data import headers
from kseg.data.class_masks import MaskPath, name_of
from kseg.data.class_patterns import mask_paths, masks_by_class
from kseg.data.detection import (
    find_splits,
    images_of,
    is_drawn,
    list_of,
    masks_of,
    name_in,
    names_of_splits,
    near_miss,
)
from kseg.data.dividing import check_fold, divide, divide_by_fold
from kseg.data.hints import held, nearest
from kseg.data.layouts import Layout
from kseg.data.mask_files import mask_header
from kseg.data.offering import offer
from kseg.data.pairing import by_stars, pair_keys
from kseg.data.patterns import CLASS, SPLIT
from kseg.data.split_lists import listed
from kseg.types import PathLike


@dataclass(frozen=True)
class ImageMaskFiles:
    """The files of one split, in the order of what the stars match.

    Attributes:
        images: list of `Path`.
        masks: list of `Path`, or of tuples of them, one file per class.
    """

    images: list[Path]
    masks: list[MaskPath]

    def __len__(self) -> int:
        return len(self.images)


def find_files(
    root: Path,
    layout: Layout,
    split: str,
    validation_fraction: float,
    group: str | None = None,
    unpaired: list[str] | None = None,
    classes: Sequence[str] = (),
    fold: tuple[int, int] | None = None,
) -> ImageMaskFiles:
    """Return the `ImageMaskFiles` of a split.

    Args:
        root: the folder.
        layout: where the files are.
        split: its name.
        validation_fraction, group: as for `kseg.data.dividing.divide`, where nothing else tells splits.
        unpaired: takes a line for each folder with files that do not pair.
        classes: names of all classes, where the masks have a file for each.
        fold: `None` or as for `kseg.data.dividing.divide_by_fold`, which then divides "train", or, where
            nothing tells splits, all.

    Raises:
        FileNotFoundError: if the folder or the split is missing; it says what is there.
        ValueError: if nothing pairs, or, where `unpaired` is `None`, if a picture lacks its mask or a mask
            its picture; it names them.
    """
    if not isinstance(split, str) or not split or re.search(r"[*{}/\\]", split):
        raise ValueError(f"split must be the name of one, for instance 'train', got {split!r}")
    part = split
    if fold is not None:
        check_fold(fold, part)
        split = "train"
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        near = "" if root.exists() else nearest(root)
        raise FileNotFoundError(f"{root}: {what}; expected {_expected(layout, split)}{near}")
    images, masks, lists = images_of(layout), masks_of(layout), list_of(layout)
    by_folder = SPLIT in images.text + masks.text
    divided = not by_folder and (lists is None or SPLIT not in lists.text)
    name = split
    if not divided:
        named = next(p for p in (lists, images, masks) if p is not None and SPLIT in p.text)
        there = name_in(root, named, split)
        if there is None and split in ("train", "val") and is_drawn(layout, names_of_splits(root, layout)):
            there, divided = layout.divided, True
        if there is None:
            raise _no_split(root, layout, split)
        name = there
    if group is not None and not divided and fold is None:
        raise ValueError(
            f"{root}: group= divides folders without splits, this one has the split {split!r}; leave it out"
        )
    found_images = by_stars(images, root, name, mask_paths(root, layout, name, classes))
    if CLASS in layout.masks:
        found_masks, of_classes = masks_by_class(root, layout, name, found_images, classes, unpaired)
    else:
        found_masks, of_classes = by_stars(masks, root, name), {}
    if lists is not None and found_images:
        file = next((match.path for match in lists.find(root, name)), root / lists.text.replace(SPLIT, name))
        keys = listed(file, found_images, root, unpaired)
        found_images = {key: match for key, match in found_images.items() if key in keys}
    surplus = lists is None and (SPLIT in masks.text or SPLIT not in images.text)
    pairs = pair_keys(root, layout, name, found_images, found_masks, unpaired, surplus)
    paired_images = {key: found_images[key] for key in pairs}
    if fold is not None:
        keys = divide_by_fold(paired_images, part, fold, group, root)
        pairs = [key for key in pairs if key in keys]
    elif divided:
        keys = divide(paired_images, split, validation_fraction, group, root)
        pairs = [key for key in pairs if key in keys]
    paths: list[MaskPath] = [of_classes.get(key, found_masks[key].path) for key in pairs]
    return ImageMaskFiles([found_images[key].path for key in pairs], paths)


def _expected(layout, split):
    return f"{layout.images.replace(SPLIT, split)} and {layout.masks.replace(SPLIT, split)}"


def _no_split(root, layout, split):
    """Return the error that a split is not there."""
    splits = find_splits(root, layout)
    if splits:
        return unknown_name("split", split, splits)
    if layout.name == "kseg":
        hint = near_miss(root) or offer(root)
        inner = split if (root / split).is_dir() else ""
        found = f" ({inner or 'it'} holds {there})" if (there := held(root / inner)) else ""
        return FileNotFoundError(
            f"{root}: neither {split}/images nor images is in this folder{found}, nor any layout of "
            f"kseg.data.list_layouts(); {hint}tell where the files are by images= and masks="
        )
    first = (layout.split_file or layout.images).replace(SPLIT, split)
    return FileNotFoundError(f"{root}: there is no {first}; expected {_expected(layout, split)}")


def paired(images: Sequence[PathLike], masks: Sequence[MaskPath]) -> ImageMaskFiles:
    """Return the `ImageMaskFiles` of two lists, the first with the first.

    Raises:
        ValueError: if they are empty, of two lengths, no lists of paths, or name a picture twice.
    """
    for argument, paths in (("images", images), ("masks", masks)):
        is_list = isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike)
        if not is_list or not all(_is_path(path, several=argument == "masks") for path in paths):
            raise ValueError(f"{argument} must be a list of paths, got {paths!r}"[:200])
    if len(images) != len(masks) or not images:
        raise ValueError(
            f"images and masks must be lists of one length, 1 or more, got {len(images)} and {len(masks)}"
        )
    pairs = ImageMaskFiles([Path(path).expanduser() for path in images], [_expanded(mask) for mask in masks])
    twice = [path for path, count in Counter(pairs.images).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]}: stands twice in images; give every picture once")
    return pairs


def _is_path(path, several):
    """Tell whether it is a path, or, where `several`, a tuple of paths and `None`."""
    if several and isinstance(path, tuple | list):
        return all(file is None or _is_path(file, False) for file in path)
    return isinstance(path, str | os.PathLike)


def _expanded(mask):
    if isinstance(mask, tuple | list):
        return tuple(None if file is None else Path(file).expanduser() for file in mask)
    return Path(mask).expanduser()


def read_headers(
    pairs: ImageMaskFiles, page: int | None = None, deep: bool = False, windows: bool = False
) -> tuple[list, list]:
    """Return `(image headers, mask headers)`, read in parallel; arguments as for `image_header`.

    Raises:
        ValueError: for an unreadable file, or a mask whose size is not its picture's; it names the file.
    """
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda path: headers.image_header(path, page, deep, windows), pairs.images))
        masks = list(pool.map(lambda path: mask_header(path, windows, page), pairs.masks))
    for path, image, mask, mask_path in zip(pairs.images, images, masks, pairs.masks, strict=True):
        if image.size != mask.size:
            raise ValueError(size_mismatch(path, image.size, mask_path, mask.size))
    return images, masks


def size_mismatch(path: Path, size: tuple, mask_path: MaskPath, mask_size: tuple) -> str:
    """Return what is wrong with a mask of another size `(H, W)` than its picture."""
    return (
        f"{name_of(mask_path)}: {mask_size[1]}×{mask_size[0]} pixels, but {path.name} has "
        f"{size[1]}×{size[0]} (width×height); make them the same"
    )
