"""Class ids: what a data set's numbers mean."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kseg.data.class_masks import MaskPath, name_of
from kseg.data.colors import VOID, MaskColors, read_colors
from kseg.data.diagnosis import diagnose
from kseg.data.mask_files import count_ids
from kseg.data.name_files import read_class_names
from kseg.data.source import Source
from kseg.masks import void_ids

_TABLE_SIZE = 2**16  # masks hold up to 16 bits
NO_CLASS = np.iinfo("int32").min  # -1 may be void


@dataclass(frozen=True)
class Labels:
    """What the ids of a data set mean.

    Attributes:
        class_names: list of str, one per class.
        label_map: dict, id in the file → id of a class or void; ids that are not in it stay.
        ignore_class: int or several, void.
        colors: `None`, or what the colours of the masks mean.
        counted: whether nothing named the classes, and the largest id says how many there are.
    """

    class_names: list[str]
    label_map: dict[int, int]
    ignore_class: int | Sequence[int]
    colors: MaskColors | None = None
    counted: bool = False

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def table(self) -> np.ndarray:
        """Return int32 `(65536,)`: id in the file → id; `NO_CLASS` for what is neither a class nor void."""
        table = np.arange(_TABLE_SIZE, dtype="int32")
        if self.colors is not None and void_ids(self.ignore_class):
            table[VOID] = void_ids(self.ignore_class)[0]
        for old, new in self.label_map.items():
            table[old] = new
        known = np.isin(table, [*range(self.num_classes), *void_ids(self.ignore_class)])
        return np.where(known, table, NO_CLASS)

    def complaint(self, ids: Sequence[int] = (), counts: Mapping[int, int] | None = None) -> str:
        """Return what is wrong with a mask that holds `ids` outside the classes, and the mend.

        Args:
            ids: outside the classes.
            counts: `None` or all ids of the mask → pixels, to tell what they look like.
        """
        listed = f" {ids if len(ids) <= 10 else [*ids[:10], '...']}".replace("'", "") if ids else ""
        what = f"class ids{listed} outside 0..{self.num_classes - 1} (void is {self.ignore_class})"
        if counts and ids:
            what += f" in {sum(counts[id] for id in ids)} of {sum(counts.values())} pixels"
        found = (
            diagnose(counts, self.num_classes, self.ignore_class) if counts and not self.label_map else None
        )
        if found:
            return f"{what}; {found.text}"
        example = f"{{{ids[0] if ids else 'ID'}: {(void_ids(self.ignore_class) or (0,))[0]}}}"
        return f"{what}; map them by label_map, for instance label_map={example}"

    def mapped(self, mask: np.ndarray, path: MaskPath) -> np.ndarray:
        """Return the ids, uint8 or int32, of a mask of those in its file; one outside is an error by name."""
        import cv2

        if mask.dtype == np.uint8 and self._small_table is not None:
            table, no_class = self._small_table
            ids = cv2.LUT(mask, table)
        else:
            ids, no_class = self._table[mask], NO_CLASS
        outside = ids == no_class
        if outside.any():
            found = Counter(mask.ravel().tolist())
            raise ValueError(f"{name_of(path)}: {self.complaint(np.unique(mask[outside]).tolist(), found)}")
        return ids

    @cached_property
    def _table(self):
        return self.table()

    @cached_property
    def _small_table(self):
        """The table of ids of 8 bits and the number of what is no class; `None` where they do not fit."""
        table = self._table[:256]
        known = set(table[table != NO_CLASS].tolist())
        free = set(range(256)) - known
        if not free or not known <= set(range(256)):
            return None
        return np.where(table == NO_CLASS, max(free), table).astype("uint8"), max(free)


def read_labels(source: Source, lenient: bool = False) -> Labels:
    """Return the `Labels` of a data set.

    Names come from `source.class_names`, else from `source.colors` where no `label_map` changes what they
    stand for, else from `root/classes.txt` (one per line), else they are
    "class 0", "class 1", ... up to the largest id in any mask of any split. `lenient` then passes over
    masks that cannot be read and ids that are no class.

    Raises:
        ValueError: for a map that is no `{int: int}`, or void among the classes.
    """
    checked_map, ignore_class = _checked_map(source.label_map), source.ignore_class
    class_names, colors, file = source.class_names, read_colors(source.colors), source.names_file()
    if class_names is None and colors is not None and not checked_map:
        class_names = colors.names
    if class_names is None and file is not None:
        class_names = read_class_names(file)
    if colors is not None and class_names is not None and not checked_map:
        given = [str(name) for name in class_names]
        if given != colors.names and sorted(given) == sorted(colors.names):
            raise ValueError(
                f"class_names has the names of colors= in another order, {given[:5]} for {colors.names[:5]}; "
                "leave it out, or give the colours in its order"
            )
    counted = class_names is None
    if class_names is None:
        highest = _highest_id(source, checked_map, lenient, colors)
        class_names = [f"class {number}" for number in range(highest + 1)]
    return checked_labels(class_names, checked_map, ignore_class, colors, counted)


def checked_labels(
    class_names: Sequence[str],
    label_map: Mapping[int, int] | None,
    ignore_class: int | Sequence[int],
    colors: MaskColors | None = None,
    counted: bool = False,
) -> Labels:
    """Return `Labels`; raise `ValueError` for a map that is no `{int: int}`, or void among the classes."""
    class_names, checked_map = [str(name) for name in class_names], _checked_map(label_map)
    within = [i for i in void_ids(ignore_class) if 0 <= i < len(class_names)]
    if within:
        raise ValueError(
            f"ignore_class={ignore_class} is one of the {len(class_names)} classes; give void another id"
        )
    return Labels(class_names, checked_map, ignore_class, colors, counted)


def _checked_map(label_map):
    label_map = {} if label_map is None else label_map
    if not isinstance(label_map, Mapping):
        raise ValueError(f"label_map must be {{id in the file: id}}, got {label_map!r}")
    for old, new in label_map.items():
        if not isinstance(old, int) or not isinstance(new, int) or not 0 <= old < _TABLE_SIZE:
            raise ValueError(f"label_map must be {{id in the file: id}}, ints, got {{{old!r}: {new!r}}}")
    return dict(label_map)


def _highest_id(source, label_map, lenient, colors):
    root, ignore_class = source.root, source.ignore_class
    skip = void_ids(ignore_class)
    splits = [source.files(split, unpaired=[]) for split in source.splits()]
    paths = [path for pairs in splits for path in pairs.masks]

    def counts_of(path):
        try:
            return count_ids(path, colors, source.page)
        except (ValueError, OSError):
            if lenient:
                return np.zeros(0, int)
            raise

    total: Counter = Counter()
    result, highest_path = -1, paths[0] if paths else Path(root)
    with ThreadPoolExecutor() as pool:
        for path, counts in zip(paths, pool.map(counts_of, paths), strict=True):
            found = np.flatnonzero(counts).tolist()
            total.update({i: int(counts[i]) for i in found})
            ids = [label_map.get(i, i) for i in found]
            highest = max((i for i in ids if i not in skip and (i < 255 or not lenient)), default=-1)
            if highest > result:
                result, highest_path = highest, path
    if lenient:
        return max(result, 0)
    _check_counted(root, result, highest_path, total, label_map, ignore_class)
    return result


def _check_counted(root, result, path, counts, label_map, ignore_class):
    """Refuse ids that do not tell how many classes there are."""
    found = None if label_map else diagnose(counts, None, ignore_class)
    if found and found.certain:
        raise ValueError(f"{root}: {found.text}, or give class_names")
    if not 0 <= result < 255:
        raise ValueError(
            f"{root}: the largest class id in the masks is {result} ({Path(name_of(path)).name}); give "
            f"class_names, and a label_map for ids that are no class"
        )
    if result == 0:
        skip = void_ids(ignore_class)
        raise ValueError(
            f"{root}: the masks hold class 0 and void ({ignore_class}) alone; if void is a class, map it: "
            f"label_map={{{(skip or (255,))[0]}: 1}}; else give class_names"
        )
