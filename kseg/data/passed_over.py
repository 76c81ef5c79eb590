"""What in a folder is no part of the data set: told and counted, never in the way."""

import os
from pathlib import Path

from kseg.data.detection import images_of, masked_splits, masks_of, name_in, unlabelled_lists
from kseg.data.layouts import Layout
from kseg.data.patterns import SPLIT, is_hidden

_SHOWN = 3


def passed_over(root: Path, layout: Layout, splits: list[str]) -> list[str]:
    """Return a line for each folder of pictures without masks, or the other way, for hidden and stray files.

    Args:
        root: the folder.
        layout: where its files are.
        splits: those with masks.
    """
    return _unlabelled(root, layout) + _others(root, layout, splits)


def _unlabelled(root, layout):
    """Tell of splits that have pictures and no masks, as a test set, or masks and no pictures."""
    images, masks = images_of(layout), masks_of(layout)
    lists = unlabelled_lists(root, layout)
    lines = [
        f"{root}: {count} pictures of {name!r} without masks, passed over" for name, count in lists.items()
    ]
    if SPLIT not in images.text or SPLIT not in masks.text:
        return lines
    known = {match.path for match in masks.find(root)}
    pictured, masked = set(images.splits(root)), set(masked_splits(root, layout))
    for split in sorted(pictured - masked):
        count = sum(match.path not in known for match in images.find(root, split))
        if count:
            lines.append(f"{images.folder(root, split)}: {count} pictures without masks, passed over")
    for split in sorted(masked - pictured):
        count = sum(1 for _ in masks.find(root, split))
        lines.append(f"{masks.folder(root, split)}: {count} masks without pictures, passed over")
    return lines


def _others(root, layout, splits):
    """Tell of hidden files and folders, and of files that are neither picture nor mask, where data lie."""
    patterns = images_of(layout), masks_of(layout)
    folders = {
        pattern.folder(root, name_in(root, pattern, split) or split)
        for pattern in patterns
        for split in splits
    }
    folders = {folder for folder in folders if not any(other in folder.parents for other in folders)}
    known = {match.path for pattern in patterns for match in pattern.find(root)}
    hidden = [path.name for path in root.iterdir() if is_hidden(path.name)] if root not in folders else []
    stray = []
    for top in sorted(folders):
        for folder, inner, files in os.walk(top):
            hidden += [name for name in (*inner, *files) if is_hidden(name)]
            inner[:] = [name for name in inner if not is_hidden(name)]
            stray += [n for n in files if not is_hidden(n) and Path(folder, n) not in known]
    told = ((hidden, "hidden files and folders"), (stray, "files that are neither picture nor mask"))
    return [f"{root}: {len(names)} {what} ({_some(names)}), passed over" for names, what in told if names]


def _some(names):
    names = sorted(set(names))
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
