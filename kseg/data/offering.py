"""What would read a folder that has no known layout: patterns that pair its files, or a conversion."""

import os
from collections import defaultdict
from pathlib import Path

from kseg.data.headers import SUFFIXES
from kseg.data.patterns import OTHER_NAMES, SPLIT, is_hidden

_MOST = 20_000  # files that are looked at
_FOLDERS = 200  # more are not compared with each other
_OF_MASKS = ("mask", "label", "annot", "gt", "ground", "truth", "seg", "manual", "target")
_SPLITS = {name for usual, others in OTHER_NAMES.items() for name in (usual, *others)}
# annotations by what their files are called, first those that say most
_ANNOTATIONS = (("coco", ".json", ("instances", "coco")), ("cvat", ".xml", ("annotations",)))


def offer(root: Path) -> str:
    """Return, as the beginning of a sentence, what would read a folder; "" where nothing shows."""
    folders = _files_of(root)
    pictures = {
        folder: [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        for folder, names in folders.items()
    }
    best = max(_pairings(pictures), default=None)
    if best is not None:
        count, images, masks = best
        return f"images={images!r} with masks={masks!r} would pair {count} of its files; "
    kind = _annotations(folders)
    return (
        f"it has annotations of {kind}: kseg.data.convert and `kseg convert` make masks of them; "
        if kind
        else ""
    )


def _files_of(root):
    """Return folder below `root` → names of the files in it."""
    found, count = {}, 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found[Path(place).relative_to(root)] = [name for name in names if not is_hidden(name)]
        count += len(names)
        if count > _MOST:
            break
    return found


def _pairings(pictures):
    """Yield `(number of pairs, images pattern, masks pattern)` of folders whose files pair."""
    if len(pictures) > _FOLDERS:
        return
    for masks, mask_names in pictures.items():
        yield from _within(masks, mask_names)
        for images, image_names in pictures.items():
            if (
                images != masks
                and image_names
                and mask_names
                and _is_of_masks(masks)
                and not _is_of_masks(images)
            ):
                yield from _between(images, image_names, masks, mask_names)


def _is_of_masks(folder):
    """Tell whether a folder is called as those of masks are."""
    names = [part.lower() for part in folder.parts[-2:]]
    return any(word in name for name in names for word in _OF_MASKS) and not any(
        "im" in name for name in names
    )


def _between(images, image_names, masks, mask_names):
    stems = {Path(name).stem for name in image_names}
    first = sorted(Path(name).stem for name in mask_names)[0]
    inner = max((stem for stem in stems if stem and stem in first), key=len, default=None)
    if inner is None:
        return
    before, _, after = first.partition(inner)
    others = {Path(name).stem for name in mask_names}
    count = sum(before + stem + after in others for stem in stems)
    if count > len(stems) // 2:
        ending = f"{before}*{after}" + (".*" if after else "")
        yield count, _general(images) + "*", _general(masks) + ending


def _within(folder, names):
    """Yield what pairs the files of one folder, where a mask is named as its picture and a word more."""
    by_stem = {Path(name).stem: name for name in names}
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for stem, name in by_stem.items():
        for word in ("_mask", "_label", "_gt", "_seg", "-mask", "_L", "_labels", "_segmentation"):
            if stem + word in by_stem:
                counts[word, Path(name).suffix, Path(by_stem[stem + word]).suffix] += 1
    for (word, of_picture, of_mask), count in counts.items():
        yield count, f"{_general(folder)}*{of_picture}", f"{_general(folder)}*{word}{of_mask}"


def _general(folder):
    """Return the beginning of a pattern: a folder, with its split open."""
    parts = [SPLIT if part in _SPLITS else part for part in folder.parts]
    return "".join(f"{part}/" for part in parts)


def _annotations(folders):
    """Return what `kseg convert` calls the annotations that are there, `None` without any."""
    for kind, suffix, words in _ANNOTATIONS:
        for names in folders.values():
            if any(name.lower().endswith(suffix) and any(w in name.lower() for w in words) for name in names):
                return kind
    if any(
        "labels" in folder.parts and name.endswith(".txt")
        for folder, names in folders.items()
        for name in names
    ):
        return "yolo"
    for names in folders.values():
        stems = {Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES}
        if any(name.endswith(".json") and Path(name).stem in stems for name in names):
            return "labelme"
    return None
