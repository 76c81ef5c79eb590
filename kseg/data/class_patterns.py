"""Masks of one file per class, found by a pattern with `{class}`."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kseg.data.detection import images_of, masks_of, names_of_splits
from kseg.data.layouts import Layout
from kseg.data.patterns import CLASS, SPLIT, Match

BACKGROUND = "background"


def classes_in(root: Path, layout: Layout) -> list[str]:
    """Return the classes of the masks that have a picture, sorted, behind the background."""
    by_folder = SPLIT in layout.images + layout.masks
    labels: set[str] = set()
    for split in (names_of_splits(root, layout) or []) if by_folder else [""]:
        masks = mask_paths(root, layout, split)
        pictures = {
            each.stars: each for each in images_of(layout).find(root, split) if each.path not in masks
        }
        read = _read(root, layout, split, pictures)
        labels |= {match.label for match in read.values() if match.stars in pictures}
    return [BACKGROUND, *sorted(labels - {BACKGROUND})]


def mask_paths(root: Path, layout: Layout, split: str, classes: Collection[str] = ()) -> set[Path]:
    """Return the files that are masks and no pictures.

    What both patterns match belongs to the one that says more of its name.

    Args:
        root, layout: where the files are.
        split: what the folder calls it.
        classes: where they are known, what a name has in the place of `{class}` to be that of a mask.
    """
    images, masks = images_of(layout), masks_of(layout)
    known = [match for match in masks.find(root, split) if not classes or match.label in classes]
    found = {match.path for match in known}
    if CLASS in layout.masks and images.letters > masks.letters:
        found -= {match.path for match in images.find(root, split)}
    return found


def masks_by_class(
    root: Path,
    layout: Layout,
    split: str,
    images: Mapping[tuple, Match],
    classes: Sequence[str],
    problems: list[str] | None = None,
) -> tuple[dict[tuple, Match], dict[tuple, tuple[Path | None, ...]]]:
    """Return what the stars match → one of the masks, and → the files of the classes from 1 on.

    Files of class 0 do not count: it is what no other file marks.

    Args:
        root, layout: where the files are.
        split: what the folder calls it.
        images: what the stars match → picture.
        classes: names of all classes.
        problems: takes a line for the file of a class that has no name; else it is an error.

    Raises:
        ValueError: for the file of a class that has no name, and two files of one class.
    """
    files: dict[tuple, dict[str, Path]] = defaultdict(dict)
    read = _read(root, layout, split, images, classes)
    for path, match in read.items():
        if match.label in classes[:1]:
            continue
        if match.label not in classes and match.stars in images:
            known = list(classes[1:])
            problem = f"{path}: is a mask of none of the classes {known}; name its class, or move it away"
            if problems is None:
                raise ValueError(problem)
            problems.append(problem)
            continue
        if other := files[match.stars].get(match.label):
            raise ValueError(f"{path}: {other.name} has the same stem; remove one of them")
        files[match.stars][match.label] = path
    paths = {stars: tuple(map(of.get, classes[1:])) for stars, of in sorted(files.items())}
    return {match.stars: match for match in read.values() if match.stars in paths}, paths


def _read(root, layout, split, images, classes=()):
    """Return the masks → how their names are read: so that a picture and a class are known, if one can be."""
    pictures = {match.path for match in images.values()}
    readings: dict[Path, list[Match]] = defaultdict(list)
    for match in masks_of(layout).find(root, split):
        if match.path not in pictures:
            readings[match.path].append(match)
    return {
        path: max(matches, key=lambda match: (match.stars in images, match.label in classes))
        for path, matches in sorted(readings.items())
    }
