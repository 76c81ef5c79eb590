"""Which layout a folder has, and which splits there are in it."""

from pathlib import Path

from kseg.checks import unknown_name
from kseg.data.headers import SUFFIXES
from kseg.data.layouts import LAYOUTS, Layout, list_layouts
from kseg.data.mask_files import MASK_SUFFIXES
from kseg.data.patterns import OTHER_NAMES, SPLIT, Pattern, entries, usual_name
from kseg.data.split_lists import listed

_LISTS = (".txt", ".csv", ".json", ".yaml", ".yml")
_LOOKED_INTO = 20  # folders, for a data set some levels below
_LEVELS = 3


def images_of(layout: Layout) -> Pattern:
    """Return the pattern of the pictures of a layout."""
    return Pattern(layout.images, SUFFIXES)


def masks_of(layout: Layout) -> Pattern:
    """Return the pattern of the masks of a layout."""
    return Pattern(layout.masks, MASK_SUFFIXES)


def list_of(layout: Layout) -> Pattern | None:
    """Return the pattern of the split lists of a layout, `None` where it has none."""
    return None if layout.split_file is None else Pattern(layout.split_file, _LISTS)


def names_of(layout: Layout) -> Pattern | None:
    """Return the pattern of the file of names of a layout, `None` where it has none."""
    return None if layout.names_file is None else Pattern(layout.names_file, _LISTS)


def colors_of(layout: Layout) -> Pattern | None:
    """Return the pattern of the file of colours of a layout, `None` where it has none."""
    return None if layout.colors_file is None else Pattern(layout.colors_file, _LISTS)


def layout_named(name: str) -> Layout:
    """Return a layout of the table; raise `ValueError` with the nearest name where there is none."""
    for layout in LAYOUTS:
        if layout.name == name:
            return layout
    raise unknown_name("layout", name, list_layouts())


def detect(root: Path) -> Layout | None:
    """Return the first layout of the table whose pictures and masks are in a folder, `None` where none is."""
    return next((layout for layout in LAYOUTS if _fits(root, layout)), None)


def _fits(root, layout):
    for text in layout.told_by:
        suffixes = MASK_SUFFIXES if text.endswith("*") else _LISTS
        if not any(True for _ in Pattern(text, suffixes).find(root)):
            return False
    splits = names_of_splits(root, layout)
    if splits is not None and not layout.own and layout.split_file is None:
        return any(usual_name(split) in OTHER_NAMES for split in splits)
    if splits is not None:
        return bool(splits)
    return any(True for _ in images_of(layout).find(root)) and any(True for _ in masks_of(layout).find(root))


def names_of_splits(root: Path, layout: Layout) -> list[str] | None:
    """Return what splits with masks are called in a folder; `None` where the layout does not tell splits."""
    images, masks, lists = images_of(layout), masks_of(layout), list_of(layout)
    if lists is not None and SPLIT in lists.text:
        found = lists.splits(root)
        unlabelled = unlabelled_lists(root, layout)
        masked = any(True for _ in masks.find(root))
        names = [name for name in found if name not in (*layout.other_lists, *unlabelled)]
        return names if masked else []
    if SPLIT not in images.text + masks.text:
        return None
    if SPLIT not in masks.text:
        return images.splits(root)
    splits = masked_splits(root, layout)
    return [name for name in splits if SPLIT not in images.text or name in images.splits(root)]


def masked_splits(root: Path, layout: Layout) -> list[str]:
    """Return what splits with masks are called, sorted.

    Of kseg's own layout anything in the folder of the masks counts: what cannot be read is to be named, not
    passed over.
    """
    names = set(masks_of(layout).splits(root))
    if layout.own:
        found = images_of(layout).splits(root)
        names |= {split for split in found if entries(masks_of(layout).folder(root, split))}
    return sorted(names)


def unlabelled_lists(root: Path, layout: Layout) -> dict[str, int]:
    """Return the splits whose list names pictures without a single mask → how many."""
    lists = list_of(layout)
    if lists is None or SPLIT not in lists.text:
        return {}
    images = {match.stars: match for match in images_of(layout).find(root)}
    masked = {match.stars for match in masks_of(layout).find(root)}
    named = {match.split: listed(match.path, images, root, []) for match in lists.find(root)}
    return {name: len(keys) for name, keys in named.items() if keys and not keys & masked}


def near_miss(root: Path) -> str:
    """Return what is nearly a layout in a folder that has none: one inside, or pictures without its masks."""
    for folder in _folders_below(root):
        if layout := detect(folder):
            return f"{folder} has the layout {layout.name!r}: give that folder; else "
    for layout in LAYOUTS:
        if layout.images.startswith(SPLIT) or layout.own:
            continue
        has_masks = any(True for _ in masks_of(layout).find(root))
        if not has_masks and any(True for _ in images_of(layout).find(root)):
            return f"it has the pictures of the layout {layout.name!r}, and no masks at {layout.masks}; "
    return ""


def _folders_below(root):
    """Return the first folders some levels below, those of each level before the next."""
    found: list[Path] = []
    level = [root]
    for _ in range(_LEVELS):
        room = _LOOKED_INTO - len(found)
        level = [path for folder in level for path in entries(folder) if path.is_dir()][:room]
        found += level
    return found


def find_splits(root: Path, layout: Layout) -> list[str]:
    """Return the usual names of the splits with masks in a folder; none where it is no folder."""
    names = names_of_splits(root, layout)
    if not root.is_dir():
        return []
    if names is None:
        return ["train", "val"]
    if is_drawn(layout, names):
        names = ["train", "val", *(name for name in names if name != layout.divided)]
    usual = [usual_name(name) for name in names]
    return [
        name if short in names or usual.count(short) > 1 else short
        for name, short in zip(names, usual, strict=True)
    ]


def is_drawn(layout: Layout, names: list[str] | None) -> bool:
    """Tell whether "train" and "val" are drawn from one list, since there is none of theirs."""
    return layout.divided in (names or []) and not {"train", "val"} & {usual_name(n) for n in names or []}


def name_in(root: Path, pattern: Pattern, split: str) -> str | None:
    """Return what a folder calls a split, which may be another name than the usual one; `None` if nothing."""
    before_stars = SPLIT in pattern.text.split("*")[0].rpartition("/")[0]
    for name in (split, *OTHER_NAMES.get(split, ())):
        if before_stars:
            there = pattern.folder(root, name).is_dir()
        else:
            there = any(True for _ in pattern.find(root, name))
        if there:
            return name
    return None
