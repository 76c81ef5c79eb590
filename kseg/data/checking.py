"""The data check: visit every file, report every problem, then fail."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kseg.data.class_masks import MaskPath, name_of, shared_pixels
from kseg.data.colors import Colors
from kseg.data.diagnosis import diagnose
from kseg.data.files import size_mismatch
from kseg.data.findings import doubts, suggestions
from kseg.data.kinds import kinds_of, told_of_kinds
from kseg.data.labels import NO_CLASS, Labels, read_labels
from kseg.data.mask_files import read_mask
from kseg.data.options import check_options
from kseg.data.reading import read_image, read_numbers
from kseg.data.report import CheckReport, printable
from kseg.data.source import Source
from kseg.masks import void_ids
from kseg.types import PathLike


@dataclass
class Seen:
    """What one pair holds.

    Attributes:
        split: its split.
        path: of the picture.
        ids: id in the mask file → pixels.
        pixels: int64 `(num_classes,)`, `None` where the pair could not be read.
        void: pixels.
        problem: `None`, or what is wrong.
        digest: of the pixels of the picture.
        size: `(H, W)`.
        low, high: pixel values of the picture.
        channels: of the picture.
        deep: `None`, or of a picture that needs a range the error, its least and its largest number.
        kinds: of `kseg.data.kinds`.
        shared: of `kseg.data.class_masks.shared_pixels`, where nothing states which class lies above.
    """

    split: str
    path: Path
    ids: dict[int, int] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    void: int = 0
    problem: str | None = None
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    low: float = 0
    high: float = 0
    channels: int = 0
    deep: tuple[str, float, float] | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    shared: dict[tuple[int, int], int] = field(default_factory=dict)


def check(
    root: PathLike,
    *,
    layout: str | None = None,
    images: str | None = None,
    masks: str | None = None,
    split_file: str | None = None,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    colors: Colors = None,
    validation_fraction: float = 0.2,
    group: str | None = None,
    fold: tuple[int, int] | None = None,
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> CheckReport:
    """Decode every picture and mask of every split and count the classes; nothing is changed.

    Damage inside JPEG and PNG files is looked for, which decoders repair or pass over. Ids that look like
    grey levels, begin with 1 or have gaps are a problem of the folder, with the label map that mends them.
    Equal pictures, classes that a split lacks and masks of void alone are warnings. Folders of pictures
    without masks, as test sets have them, are passed over and counted.
    Where no names are given, the largest id below 255 in the masks says how many classes there are.

    Args:
        root: as for `from_directory`; so are the arguments that follow.
        layout, images, masks, split_file, group, fold: where the files are, and how they are split.
        label_map: `{id in the file: id}`.
        class_names: one name per class.
        ignore_class: void, one id or several.
        colors: what the colours of masks mean.
        validation_fraction: the share of "val" where the folder has no splits.
        channels, value_range, page: how pictures are read.
        progress: called with `(files done, all files)`.

    Returns:
        What was found; printed, it is a table of the classes and the problems found.

    Raises:
        FileNotFoundError, ValueError: for a folder without pairs; problems of single files are in the report.
    """
    check_options(channels, value_range, page)
    unpaired: list[str] = []
    source = Source(
        root,
        validation_fraction=validation_fraction,
        class_names=class_names,
        label_map=label_map,
        ignore_class=ignore_class,
        colors=colors,
        layout=layout,
        images=images,
        masks=masks,
        split_file=split_file,
        group=group,
        fold=fold,
        channels=channels,
        value_range=value_range,
        page=page,
    )
    splits = {split: source.files(split, unpaired) for split in source.splits() or ["train"]}
    labels = read_labels(source, lenient=True)
    report = CheckReport(labels.class_names, problems=sorted(set(unpaired)), notes=source.notes())
    table, total = labels.table(), sum(map(len, splits.values()))
    jobs = [(split, *pair) for split, f in splits.items() for pair in zip(f.images, f.masks, strict=True)]
    seen: list[Seen] = []
    with ThreadPoolExecutor() as pool:
        for one in pool.map(lambda job: _visit(job[0], job[1], job[2], table, labels, source), jobs):
            seen.append(one)
            if progress:
                progress(len(seen), total)
    report.pairs = {split: len(files) for split, files in splits.items()}
    _add_up(report, seen, labels.num_classes)
    problems, doubtful, mend = _problems_of_ids(root, report, seen, labels)
    report.problems += problems
    report.warnings += doubtful + doubts(report, seen, not problems + doubtful, value_range is None)
    report.suggestions += suggestions(report, seen, mend)
    doubtful, told = told_of_kinds(seen)
    report.warnings, report.notes = report.warnings + doubtful, report.notes + told
    for lines in (report.problems, report.warnings, report.notes):
        lines[:] = map(printable, lines)
    return report


def _add_up(report, seen, num_classes):
    report.void = dict.fromkeys(report.pairs, 0)
    report.pixels = {split: np.zeros(num_classes, "int64") for split in report.pairs}
    sound = [one for one in seen if one.pixels is not None]
    for one in sound:
        report.pixels[one.split] += one.pixels
        report.void[one.split] += one.void
    report.problems += [one.problem for one in seen if one.problem] + _of_pictures(sound)
    report.sizes = dict(Counter(one.size for one in sound))
    if sound:
        report.value_range = min(one.low for one in sound), max(one.high for one in sound)


def _of_pictures(sound):
    """Return what is wrong with the pictures as a whole: they need a range, or their bands differ."""
    lines = []
    if deep := [one for one in sound if one.deep]:
        low, high = min(one.deep[1] for one in deep), max(one.deep[2] for one in deep)
        more = f" (and {len(deep) - 1} more pictures, {low:g}–{high:g} in all)" if len(deep) > 1 else ""
        lines.append(deep[0].deep[0] + more)
    channels = {one.channels: one.path for one in reversed(sound)}
    if len(channels) > 1:
        told = ", ".join(f"{count} in {path.name}" for count, path in sorted(channels.items()))
        lines.append(
            f"{sound[0].path}: the pictures have several numbers of channels ({told}); give channels=, or "
            "make them alike"
        )
    return lines


def _problems_of_ids(root, report, seen, labels):
    """Return what is wrong with the ids of the folder as a whole, what may be, and the label map for it."""
    counts: Counter = Counter()
    for one in seen:
        counts.update(one.ids)
    if not labels.label_map and labels.colors is None:
        # class names that were counted, not given, say nothing of how many classes there are
        found = diagnose(counts, None if labels.counted else labels.num_classes, labels.ignore_class)
        if found:
            lines = [f"{root}: {found.text}"]
            return (lines, [], found.label_map) if found.certain else ([], lines, found.label_map)
    pixels, void = sum(report.pixels.values()), sum(report.void.values())
    within = bool(counts) and not any(one.problem for one in seen if one.ids)
    if pixels[1:].any() or not (within if labels.counted else labels.num_classes > 1 and void):
        return [], [], {}
    held = "void" if not pixels[0] else "class 0" + (f" and void ({labels.ignore_class})" if void else "")
    unmapped = [id for id in void_ids(labels.ignore_class) if id not in labels.label_map.values()]
    mend = {unmapped[0]: 1} if void and unmapped and labels.colors is None else {}
    hint = f"if void is a class, map it: label_map={mend}" if mend else "map its ids anew"
    if labels.counted:
        hint = f"{hint}; else give class_names" if mend else "give class_names"
        return [f"{root}: the masks hold {held} alone; {hint}"], [], mend
    count = f"there are {labels.num_classes} classes"
    return [f"{root}: the masks hold {held} alone, and {count}; {hint}"], [], mend


def _picture(path, source, seen):
    """Return a picture as it is read, or in its own numbers where it needs a range first, which is kept."""
    options = {"channels": source.channels, "page": source.page}
    if source.value_range is not None:
        return read_numbers(path, **options)
    try:
        return read_image(path, **options)
    except (ValueError, OSError) as error:
        try:
            numbers = read_numbers(path, **options)
        except (ValueError, OSError):
            raise error from None
        seen.deep = str(error), numbers.min().item(), numbers.max().item()
        return numbers


def _visit(
    split: str, image_path: Path, mask_path: MaskPath, table: np.ndarray, labels: Labels, source: Source
) -> Seen:
    """Return what one pair holds, or its problem."""
    seen = Seen(split, image_path)
    try:
        image = _picture(image_path, source, seen)
        mask = read_mask(mask_path, labels.colors, page=source.page)
        if source.is_sorted and isinstance(mask_path, tuple):
            seen.shared = shared_pixels(mask_path, partial(read_mask, page=source.page))
        deep = source.value_range is not None or seen.deep is not None
        seen.kinds = kinds_of(image_path, source.channels, deep, source.page)
    except (ValueError, OSError) as error:
        seen.problem = str(error)
        return seen
    if image.shape[:2] != mask.shape:
        seen.problem = size_mismatch(image_path, image.shape[:2], mask_path, mask.shape)
        return seen
    counts = np.bincount(mask.ravel())
    in_file = np.flatnonzero(counts)
    ids, counts = table[in_file], counts[in_file]
    seen.ids = dict(zip(in_file.tolist(), counts.tolist(), strict=True))
    outside = in_file[ids == NO_CLASS].tolist()
    if outside:
        seen.problem = f"{name_of(mask_path)}: {labels.complaint(outside, seen.ids)}"
    is_class = (ids >= 0) & (ids < labels.num_classes)
    seen.pixels = np.bincount(ids[is_class], counts[is_class], labels.num_classes).astype("int64")
    seen.void = int(counts[np.isin(ids, void_ids(labels.ignore_class))].sum())
    seen.digest = hashlib.blake2b(image.tobytes() + str(image.shape).encode(), digest_size=16).digest()
    seen.size, seen.low, seen.high = mask.shape, image.min().item(), image.max().item()
    seen.channels = image.shape[-1]
    return seen
