"""The data check: visit every file, report every problem, then fail."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kseg.data.files import size_mismatch
from kseg.data.labels import NO_CLASS, read_labels
from kseg.data.mask_files import read_mask
from kseg.data.options import check_options
from kseg.data.reading import read_image, read_numbers
from kseg.data.source import Source
from kseg.masks import void_ids
from kseg.types import PathLike

_SHOWN = 20


@dataclass
class CheckReport:
    """What `check` found.

    Attributes:
        class_names: list of str.
        pairs: dict, split → number of pairs.
        pixels: dict, split → int64 `(num_classes,)` pixels of each class.
        void: dict, split → number of void pixels.
        problems: list of str, each beginning with the file or folder.
    """

    class_names: list[str]
    pairs: dict[str, int] = field(default_factory=dict)
    pixels: dict[str, np.ndarray] = field(default_factory=dict)
    void: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [", ".join(f"{split}: {count} pairs" for split, count in self.pairs.items())]
        width = max(map(len, [*self.class_names, "void"]))
        lines.append(" " * width + "".join(f"{split:>10}" for split in self.pixels))
        for index, name in enumerate([*self.class_names, "void"]):
            shares = []
            for split, pixels in self.pixels.items():
                seen = self.void[split] if name == "void" and index == len(pixels) else pixels[index]
                shares.append(f"{100 * seen / max(pixels.sum() + self.void[split], 1):9.2f}%")
            lines.append(f"{name:{width}}" + "".join(shares))
        lines += self.problems[:_SHOWN]
        if len(self.problems) > _SHOWN:
            lines.append(f"... and {len(self.problems) - _SHOWN} more problems")
        return "\n".join(lines)

    def raise_for_problems(self) -> None:
        """Raise `ValueError` with the first problem and the number of others, if there are any."""
        if self.problems:
            others = f" (and {len(self.problems) - 1} more problems)" if len(self.problems) > 1 else ""
            raise ValueError(self.problems[0] + others)


def check(
    root: PathLike,
    *,
    label_map: Mapping[int, int] | None = None,
    class_names: Sequence[str] | None = None,
    ignore_class: int | Sequence[int] = 255,
    validation_fraction: float = 0.2,
    channels: int | None = None,
    value_range: Any = None,
    page: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> CheckReport:
    """Decode every picture and mask of every split and count the classes; nothing is changed.

    Damage inside JPEG and PNG files is looked for, which decoders repair or pass over. Masks that hold
    class 0 and void alone, although there are more classes, are a problem of the folder.
    Where no names are given, the largest id below 255 in the masks says how many classes there are.

    Args:
        root: as for `from_directory`; so are the arguments that follow.
        label_map: `{id in the file: id}`.
        class_names: one name per class.
        ignore_class: void, one id or several.
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
        channels=channels,
        value_range=value_range,
        page=page,
    )
    splits = {split: source.files(split, unpaired) for split in source.splits() or ["train"]}
    labels = read_labels(source, lenient=True)
    report = CheckReport(labels.class_names, problems=sorted(set(unpaired)))
    table, total, done = labels.table(), sum(map(len, splits.values())), 0

    def visit(image_path, mask_path):
        try:
            return _visit(image_path, mask_path, table, labels, source)
        except (ValueError, OSError) as error:
            return 0, 0, str(error)

    with ThreadPoolExecutor() as pool:
        for split, pairs in splits.items():
            report.pairs[split], report.void[split] = len(pairs), 0
            report.pixels[split] = np.zeros(labels.num_classes, "int64")
            for pixels, void, problem in pool.map(visit, pairs.images, pairs.masks):
                report.pixels[split] += pixels
                report.void[split] += void
                report.problems += [problem] if problem else []
                done += 1
                if progress:
                    progress(done, total)
    report.problems += _one_class_alone(root, report, labels)
    return report


def _one_class_alone(root, report, labels):
    """Return the problem, if it is one, that of several classes the masks hold the first and void alone."""
    pixels, void = sum(report.pixels.values()), sum(report.void.values())
    if labels.num_classes < 2 or not void or pixels[1:].any():
        return []
    held = f"class 0 and void ({labels.ignore_class}) alone" if pixels[0] else "void alone"
    unmapped = [id for id in void_ids(labels.ignore_class) if id not in labels.label_map.values()]
    hint = f"if void is a class, map it: label_map={{{unmapped[0]}: 1}}" if unmapped else "map its ids anew"
    return [f"{root}: the masks hold {held}, and there are {labels.num_classes} classes; {hint}"]


def _visit(image_path, mask_path, table, labels, source):
    """Return the pixels of each class, the void pixels, and the problem or `None` of one pair."""
    read = read_image if source.value_range is None else read_numbers
    image, mask = read(image_path, source.channels, page=source.page), read_mask(mask_path)
    if image.shape[:2] != mask.shape:
        return 0, 0, size_mismatch(image_path, image.shape, mask_path, mask.shape)
    ids = table[mask]
    outside = np.unique(mask[ids == NO_CLASS]).tolist()
    problem = None
    if outside:
        problem = f"{mask_path}: {labels.complaint(outside)}"
    counts = np.bincount(ids[ids >= 0], minlength=256)
    return counts[: labels.num_classes], int(np.isin(ids, void_ids(labels.ignore_class)).sum()), problem
