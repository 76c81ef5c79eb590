"""Pictures that no folder and no list divides, and folds: which are "val", by a hash of their names."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from kseg.checks import is_count, unknown_name
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
    groups = _groups(images, group, root)
    if len(groups) < 2:
        what = "pictures" if group is None else f"groups of group={group!r}"
        raise ValueError(f"{len(groups)} {what} are too few to split; add more or a root/val folder")
    chosen: set = set()
    wanted = max(1, round(validation_fraction * len(images)))
    for name in list(groups)[:-1]:  # one group at least is trained on
        if chosen and len(chosen) + len(groups[name]) / 2 > wanted:
            break
        chosen.update(groups[name])
    return chosen if split == "val" else set(images) - chosen


def divide_by_fold(
    images: Mapping[tuple, Match], split: str, fold: tuple[int, int], group: str | None, root: Path
) -> set:
    """Return the keys of the pictures of "train" or "val" of a fold.

    Groups come to the folds in the order of a hash of their names, one fold after the other, until each has
    its share. So every picture is in "val" of one fold, folds are of nearly one size, and when a picture is
    added hardly another changes its fold.

    Args:
        images: key → picture.
        split: "train" or "val".
        fold: as `check_fold` takes it: the pictures of the `i`-th of `k` folds are "val", all others "train".
        group, root: as for `divide`.

    Raises:
        ValueError: for another split, a fold that is none, a picture in no group, or fewer groups than folds.
    """
    check_fold(fold, split)
    index, count = fold
    groups = _groups(images, group, root)
    if len(groups) < count:
        what = "pictures" if group is None else f"groups of group={group!r}"
        raise ValueError(f"{len(groups)} {what} are too few for {count} folds; take fewer folds, or add more")
    chosen: set = set()
    done, number, is_empty = 0, 1, True
    for left, keys in zip(range(len(groups), 0, -1), groups.values(), strict=True):
        is_full = done + len(keys) / 2 > number * len(images) / count
        if number < count and not is_empty and (is_full or left == count - number):
            number, is_empty = number + 1, True
        if number == index:
            chosen.update(keys)
        done, is_empty = done + len(keys), False
    return chosen if split == "val" else set(images) - chosen


def check_fold(fold: object, split: str = "val") -> None:
    """Raise `ValueError` unless it is `(i, k)`, the `i`-th of 2 or more folds, and the split has folds."""
    numbers = list(fold) if isinstance(fold, tuple | list) else []
    is_fold = len(numbers) == 2 and all(map(is_count, numbers)) and numbers[0] <= numbers[1]
    if not is_fold or numbers[1] < 2:
        raise ValueError(f"fold must be (i, k), the i-th of k folds with k of 2 or more, got {fold!r}")
    if split not in ("train", "val"):
        raise unknown_name("split of a fold", split, ("train", "val"))


def _groups(images, group, root):
    """Return name → keys of its pictures, in the order of a hash of the names."""
    groups: dict[str, list] = {}
    for key, match in images.items():
        name = "/".join(key) if group is None else _group_of(match.path, group, root)
        groups.setdefault(name, []).append(key)
    return {name: groups[name] for name in sorted(groups, key=_hash)}


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
