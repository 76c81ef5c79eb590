"""What may not be meant in a data set that can be trained on, and the arguments that fit it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np

from kseg.data.report import CheckReport

if TYPE_CHECKING:
    from kseg.data.checking import Seen

_NEARLY_BLACK = 15  # the highest value of pictures that seem to be of another range
_SHOWN = 4  # pairs of classes
_RARE = 10  # times less frequent than the most frequent class


def doubts(report: CheckReport, seen: list[Seen], sound_ids: bool, in_8_bits: bool) -> list[str]:
    """Return the warnings: equal pictures, classes that lack, masks that teach nothing, dark pictures.

    Args:
        report: the counts.
        seen: the pairs.
        sound_ids: whether the ids are what they should be; else they say nothing of classes.
        in_8_bits: whether the pictures are read as 0–255.
    """
    sound = [one for one in seen if one.pixels is not None]
    lines = (
        _overlaps(report, sound) + _equal_pictures(sound) + (_of_masks(report, sound) if sound_ids else [])
    )
    return lines + (_range(report) if in_8_bits else [])


def _overlaps(report, sound):
    """Tell of classes with a file each of which one hides another, and nothing states which lies above."""
    shared: Counter = Counter()
    for one in sound:
        shared.update(one.shared)
    told = [
        f"{report.class_names[high]!r} hides {count} of the {shared[low, low]} pixels of "
        f"{report.class_names[low]!r}"
        for (low, high), count in shared.most_common()
        if low < high and count
    ][:_SHOWN]
    return [
        f"files of classes overlap, in the order of the alphabet: {', '.join(told)}; state which lies below, "
        "then which above, by class_names="
    ] * bool(told)


def _equal_pictures(sound):
    groups: dict[bytes, list[Seen]] = defaultdict(list)
    for one in sound:
        groups[one.digest].append(one)
    between: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    within: dict[str, list[Seen]] = defaultdict(list)
    for group in groups.values():
        splits = list(dict.fromkeys(one.split for one in group))
        for first, other in [(a, b) for i, a in enumerate(splits) for b in splits[i + 1 :]]:
            between[first, other] += [one for one in group if one.split == other]
        for split in splits:
            within[split] += [one for one in group if one.split == split][1:]
    lines = [
        f"{len(copies)} pictures of {other!r} are in {first!r} too: {_names(copies)}"
        for (first, other), copies in between.items()
    ]
    return lines + [
        f"{len(copies)} pictures of {split!r} are there more than once: {_names(copies)}"
        for split, copies in within.items()
        if copies
    ]


def _of_masks(report, sound):
    lines = []
    void = [one for one in sound if not one.pixels.any() and one.void]
    background = [one for one in sound if one.pixels[0] and not one.pixels[1:].any()]
    if void:
        lines.append(f"{len(void)} of {len(sound)} masks are void alone: {_names(void)}")
    if 2 * len(background) > len(sound) and len(report.class_names) > 1:
        name = report.class_names[0]
        lines.append(f"{len(background)} of {len(sound)} masks hold {name!r} alone: {_names(background)}")
    never = sum(report.pixels.values()) == 0 if report.pixels else np.zeros(0, bool)
    if never.any() and not never.all():
        lines.append(
            f"no mask has a pixel of {_listed(report, never)}; check the ids and names of the classes"
        )
    for split, pixels in report.pixels.items():
        missing = (pixels == 0) & ~never
        if missing.any() and pixels.any():
            lines.append(f"{split!r} has no pixel of {_listed(report, missing)}")
    return lines


def _range(report):
    if report.value_range is None or report.value_range[1] > _NEARLY_BLACK:
        return []
    low, high = report.value_range
    return [f"the pictures hold {low}–{high} of 0–255 and are nearly black; bring them to 0–255"]


def suggestions(report: CheckReport, seen: list[Seen], label_map: dict[int, int]) -> list[str]:
    """Return the arguments that fit the data; `label_map` is that of the diagnosis."""
    lines = [f"label_map={label_map}"] if label_map else []
    if deep := [one.deep for one in seen if one.deep]:
        low, high = min(each[1] for each in deep), max(each[2] for each in deep)
        lines += [f"value_range=({low:g}, {high:g})"] if low < high else []
    pixels = report.pixels.get("train", np.zeros(len(report.class_names)))
    present = pixels[pixels > 0]
    if len(present) > 1 and present.max() > _RARE * present.min():
        rarest = int(np.where(pixels > 0, pixels, pixels.max() + 1).argmin())
        share = 100 * pixels[rarest] / pixels.sum()
        lines.append(
            f"class_weights='sqrt_median_frequency', as {report.class_names[rarest]!r} is {share:.2g} % of "
            "the pixels"
        )
    return lines


def _listed(report, which):
    names = [repr(name) for name, is_meant in zip(report.class_names, which, strict=True) if is_meant]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _names(seen):
    return ", ".join(one.path.name for one in seen[:3]) + (", ..." if len(seen) > 3 else "")
