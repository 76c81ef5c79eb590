"""Pictures that no folder and no list divides: which of them are "val", by a hash of their names."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from kseg.checks import unknown_name
from kseg.data.patterns import Match


def divide(
    images: Mapping[tuple, Match], split: str, validation_fraction: float, group: str | None, root: Path
) -> set:
    """Return the keys of the pictures of "train" or "val".

    Groups come to "val" in the order of a hash of their names until it has its share. So a picture stays
    where it is when the folder moves, and nearly every one when others are added.

    Args:
        images: key → picture.
        split: "train" or "val".
        validation_fraction: in (0, 1), the share of "val".
        group: `None`, or a regular expression that is searched in the path of each picture below `root`;
            pictures for which it finds the same text (that of its first parentheses, if it has any) are a
            group, and all in one split. `None`: each is a group of its own.
        root: the folder of the data set.

    Raises:
        ValueError: for another split, a fraction outside (0, 1), a picture in no group, or too few groups.
    """
    if split not in ("train", "val"):
        raise unknown_name("split", split, ("train", "val"))
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must be between 0 and 1, got {validation_fraction}")
    groups: dict[str, list] = {}
    for key, match in images.items():
        name = "/".join(key) if group is None else _group_of(match.path, group, root)
        groups.setdefault(name, []).append(key)
    if len(groups) < 2:
        what = "pictures" if group is None else f"groups of group={group!r}"
        raise ValueError(f"{len(groups)} {what} are too few to split; add more or a root/val folder")
    chosen: set = set()
    wanted = max(1, round(validation_fraction * len(images)))
    in_order = sorted(groups, key=_hash)
    for name in in_order[:-1]:  # one group at least is trained on
        if chosen and len(chosen) + len(groups[name]) / 2 > wanted:
            break
        chosen.update(groups[name])
    return chosen if split == "val" else set(images) - chosen


def _group_of(path, group, root):
    relative = path.relative_to(root).as_posix()
    try:
        found = re.search(group, relative)
    except re.error as error:
        raise ValueError(f"group must be a regular expression, got {group!r} ({error})") from None
    if found is None:
        raise ValueError(
            f"{path}: group={group!r} finds nothing in {relative}; let it match every picture's path"
        )
    return (found[1] or "") if found.re.groups else found[0]


def _hash(name):
    return hashlib.sha256(os.fsencode(name)).digest()
