"""Pictures and masks in a folder: found, paired by stem, checked by header."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kseg.checks import unknown_name
from kseg.data import headers
from kseg.data.mask_files import mask_header
from kseg.types import PathLike


@dataclass(frozen=True)
class ImageMaskFiles:
    """The files of one split, in the order of their stems.

    Attributes:
        images: list of `Path`.
        masks: list of `Path`.
    """

    images: list[Path]
    masks: list[Path]

    def __len__(self) -> int:
        return len(self.images)


def find_files(
    root: PathLike, split: str, validation_fraction: float, unpaired: list[str] | None = None
) -> ImageMaskFiles:
    """Return the `ImageMaskFiles` of a split.

    Layouts: `root/split/images` and `root/split/masks`; or `root/images` and `root/masks`, of which
    `validation_fraction` are "val" and the rest "train", the same files every time.

    Args:
        root: the folder.
        split: its name.
        validation_fraction: in (0, 1).
        unpaired: takes a line for each folder with files that do not pair.

    Raises:
        FileNotFoundError: if the folder or the split is missing; it says what is there.
        ValueError: if nothing pairs, or, where `unpaired` is `None`, if a picture lacks its mask or a mask
            its picture; it names them.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise FileNotFoundError(f"{root}: {what}; expected root/{split}/images and root/{split}/masks")
    if (root / "images").is_dir():
        return _fraction(_pair(root / "images", root / "masks", unpaired), split, validation_fraction)
    if not (root / split / "images").is_dir():
        if splits_of(root):
            raise unknown_name("split", split, splits_of(root))
        raise FileNotFoundError(
            f"{root}: neither {split}/images nor images is in this folder; "
            f"expected root/{split}/images and root/{split}/masks, or root/images and root/masks"
        )
    return _pair(root / split / "images", root / split / "masks", unpaired)


def splits_of(root: PathLike) -> list[str]:
    """Return the names of the splits that `root` holds; none where it is no folder."""
    root = Path(root).expanduser()
    if (root / "images").is_dir():
        return ["train", "val"]
    if not root.is_dir():
        return []
    return [folder.name for folder in sorted(root.iterdir()) if (folder / "images").is_dir()]


def _pair(image_folder, mask_folder, unpaired):
    if not mask_folder.is_dir():
        raise FileNotFoundError(f"{mask_folder}: no such folder; masks go there, one per picture, same stem")
    images, masks = _by_stem(image_folder), _by_stem(mask_folder)
    if not images:
        raise ValueError(f"{image_folder}: no pictures ({', '.join(headers.SUFFIXES)}) in this folder")
    stems = sorted(images.keys() & masks.keys())
    if not stems:
        raise ValueError(
            f"{image_folder}: no picture shares its stem with a mask in {mask_folder}: "
            f"{_some(images)} against {_some(masks) or 'an empty folder'}; give each pair the same stem"
        )
    problems = _odd(f"{image_folder}: pictures without a mask in {mask_folder}", images, masks)
    problems += _odd(f"{mask_folder}: masks without a picture in {image_folder}", masks, images)
    if problems and unpaired is None:
        raise ValueError(problems[0])
    if problems:
        unpaired += problems
    return ImageMaskFiles([images[stem] for stem in stems], [masks[stem] for stem in stems])


def _by_stem(folder):
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in headers.SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise ValueError(f"{path}: {found[path.stem].name} has the same stem; remove one of them")
            found[path.stem] = path
    return found


def _some(files):
    return ", ".join(path.name for path in sorted(files.values())[:3]) + (", ..." if len(files) > 3 else "")


def _odd(what, files, others):
    """Return the problem, as a list of at most one line, that `files` have no counterpart among `others`."""
    odd = {stem: path for stem, path in files.items() if stem not in others}
    return [f"{what}: {len(odd)} ({_some(odd)}); add what is missing or move them away"] if odd else []


def _fraction(pairs, split, validation_fraction):
    if split not in ("train", "val"):
        raise unknown_name("split", split, ("train", "val"))
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must be between 0 and 1, got {validation_fraction}")
    order = np.random.default_rng(0).permutation(len(pairs))
    count = max(1, round(validation_fraction * len(pairs)))
    if count >= len(pairs):
        raise ValueError(f"{len(pairs)} pictures are too few to split; add more or a root/val folder")
    chosen = sorted(order[:count] if split == "val" else order[count:])
    return ImageMaskFiles([pairs.images[i] for i in chosen], [pairs.masks[i] for i in chosen])


def read_headers(pairs: ImageMaskFiles, page: int | None = None, deep: bool = False) -> tuple[list, list]:
    """Return `(image headers, mask headers)`, read in parallel; `page` and `deep` as for `image_header`.

    Raises:
        ValueError: for an unreadable file, or a mask whose size is not its picture's; it names the file.
    """
    with ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda path: headers.image_header(path, page, deep), pairs.images))
        masks = list(pool.map(mask_header, pairs.masks))
    for path, image, mask, mask_path in zip(pairs.images, images, masks, pairs.masks, strict=True):
        if image.size != mask.size:
            raise ValueError(size_mismatch(path, image.size, mask_path, mask.size))
    return images, masks


def size_mismatch(path: Path, size: tuple, mask_path: Path, mask_size: tuple) -> str:
    """Return what is wrong with a mask of another size `(H, W)` than its picture."""
    return (
        f"{mask_path}: {mask_size[1]}×{mask_size[0]} pixels, but {path.name} has {size[1]}×{size[0]} "
        f"(width×height); make them the same"
    )
