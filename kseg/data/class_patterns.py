"""Masks of one file per class, found by a pattern with `{class}`."""

import re
from collections.abc import Sequence
from pathlib import Path

from kseg.data.detection import images_of, masks_of
from kseg.data.layouts import Layout
from kseg.data.mask_files import MASK_SUFFIXES
from kseg.data.patterns import CLASS, Match, Pattern


def classes_in(root: Path, layout: Layout) -> list[str]:
    """Return what `{class}` matches, sorted; pictures do not count."""
    place = len(re.findall(r"\*+", layout.masks.split(CLASS)[0]))  # of its star among the others
    pictures = {match.path for match in images_of(layout).find(root)}
    return sorted({match.stars[place] for match in masks_of(layout).find(root) if match.path not in pictures})


def masks_by_class(
    root: Path, layout: Layout, split: str, classes: Sequence[str]
) -> tuple[dict[tuple, Match], dict[tuple, tuple]]:
    """Return what the other stars match → the first of the masks, and → the files of all classes.

    Args:
        root, layout: where the files are.
        split: what the folder calls it.
        classes: names from class 1 on.

    Raises:
        ValueError: for the file of a class that has no name.
    """
    files: dict[tuple, list] = {}
    first: dict[tuple, Match] = {}
    for number, name in enumerate(classes):
        for match in Pattern(layout.masks.replace(CLASS, name), MASK_SUFFIXES).find(root, split):
            files.setdefault(match.stars, [None] * len(classes))[number] = match.path
            first.setdefault(match.stars, match)
    known = {path for paths in files.values() for path in paths}
    known |= {match.path for match in images_of(layout).find(root, split)}
    for match in masks_of(layout).find(root, split):
        if match.path not in known:
            raise ValueError(
                f"{match.path}: is a mask of none of the classes {list(classes)}; name its class, or move it "
                "away"
            )
    return dict(sorted(first.items())), {stars: tuple(paths) for stars, paths in files.items()}
