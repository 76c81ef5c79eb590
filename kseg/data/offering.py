"""What would read a folder that has no known layout: patterns that pair its files, or a conversion."""

import os
import re
from collections import defaultdict
from pathlib import Path

from kseg.data.headers import SUFFIXES
from kseg.data.patterns import OTHER_NAMES, SPLIT, Pattern, is_hidden

_MOST = 20_000  # files that are looked at
_FOLDERS = 200  # more are not compared with each other
_OF_MASKS = ("mask", "label", "annot", "gt", "ground", "truth", "seg", "manual", "target")
_NO_IDS = ("color", "colour", "instance", "panoptic", "depth", "rgb")  # beside masks of ids
_TRIED, _KINDS = 6, 8  # patterns, kinds of masks
_SPLITS = {name for usual, others in OTHER_NAMES.items() for name in (usual, *others)}
# annotations by what their files are called, first those that say most
_ANNOTATIONS = (("coco", ".json", ("instances", "coco")), ("cvat", ".xml", ("annotations",)))


def offer(root: Path) -> str:
    """Return, as the beginning of a sentence, what would read a folder; "" where nothing shows."""
    folders = _files_of(root)
    pictures = {
        folder: [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        for folder, names in folders.items()
    }
    likely = {each[1:]: None for each in sorted(_pairings(pictures), key=lambda each: -each[0])}
    counted = [(_count(root, *patterns), *patterns) for patterns in list(likely)[:_TRIED]]
    count, images, masks = max(counted, key=lambda each: each[0], default=(0, "", ""))
    if count:
        return f"images={images!r} with masks={masks!r} would pair {count} of its files; "
    kind = _annotations(folders)
    return (
        f"it has annotations of {kind}: kseg.data.convert and `kseg convert` make masks of them; "
        if kind
        else ""
    )


def _count(root, images, masks):
    """Return how many pictures have a mask."""
    found = (
        {(match.split, match.stars) for match in Pattern(text, SUFFIXES).find(root)}
        for text in (images, masks)
    )
    return len(set.intersection(*found))


def _files_of(root):
    """Return folder below `root` → names of the files in it."""
    found, count = {}, 0
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        found[Path(place).relative_to(root)] = [name for name in names if not is_hidden(name)]
        count += len(names)
        if count > _MOST:
            break
    return found


def _pairings(pictures):
    """Yield `(number of pairs, images pattern, masks pattern)` of folders whose files pair."""
    if len(pictures) > _FOLDERS:
        return
    for folder, names in pictures.items():
        yield from _within(folder, names)
    stems = {folder: sorted(Path(name).stem for name in names) for folder, names in pictures.items() if names}
    words = {folder: _last_word(names) for folder, names in stems.items()}
    for masks, names in stems.items():
        others, firsts = set(names), _one_of_each_kind(names)
        for images in stems:
            if images != masks and _is_of_masks(masks, images):
                for word in dict.fromkeys(("", words[images])):
                    found = [stem.removesuffix(word) for stem in stems[images]]
                    for count, before, after in _between(found, firsts, others):
                        for heads in _both_general(images, masks):
                            yield count, heads[0] + _ended(f"*{word}"), heads[1] + _ended(f"{before}*{after}")


def _is_of_masks(folder, other):
    """Tell whether a folder is called as those of masks are, and another is not."""
    own, others = (
        any(word in name.lower() for name in parts for word in _OF_MASKS)
        and not any("im" in name.lower() for name in parts)
        for parts in (set(folder.parts) - set(other.parts), set(other.parts) - set(folder.parts))
    )
    return own and not others


def _between(stems, firsts, others):
    """Yield `(number of pairs, before, after)` where masks are named as pictures and more before and behind.

    Args:
        stems: of the pictures.
        firsts: a mask of each kind.
        others: the stems of all masks.
    """
    for first in firsts:
        inner = max((stem for stem in stems if stem and stem in first), key=len, default=None)
        if inner is not None:
            before, _, after = first.partition(inner)
            count = sum(before + stem + after in others for stem in stems)
            if count > len(stems) // 2:
                yield count, before, after


def _ended(name):
    """Return the last name of a pattern, of files of any suffix."""
    return name if name.endswith("*") else f"{name}.*"


def _last_word(stems):
    """Return the ending that all names have, a word behind `_` or `-`, "" where they have none."""
    first, *others = stems
    found = re.search(r"[_-][^_-]*[^\W\d_][^_-]*$", first)
    return found[0] if found and all(name.endswith(found[0]) for name in others) else ""


def _one_of_each_kind(stems):
    """Return the first of the names with the same last word, those of ids before those of colours."""
    kinds = {re.split(r"[_-]", stem)[-1]: stem for stem in sorted(stems, reverse=True)}
    names = sorted(kinds.values(), key=lambda stem: (any(word in stem.lower() for word in _NO_IDS), stem))
    return names[:_KINDS]


def _within(folder, names):
    """Yield what pairs the files of one folder, where a mask is named as its picture and a word more."""
    by_stem = {Path(name).stem: name for name in names}
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for stem, name in by_stem.items():
        for word in ("_mask", "_label", "_gt", "_seg", "-mask", "_L", "_labels", "_segmentation"):
            if stem + word in by_stem:
                counts[word, Path(name).suffix, Path(by_stem[stem + word]).suffix] += 1
    for (word, of_picture, of_mask), count in counts.items():
        yield count, f"{_general(folder)}*{of_picture}", f"{_general(folder)}*{word}{of_mask}"


def _general(folder):
    """Return the beginning of a pattern: a folder, with its split open."""
    return _joined([SPLIT if part in _SPLITS else part for part in folder.parts])


def _both_general(images, masks):
    """Yield the beginnings of two patterns: what both folders end in is open, then what they begin in too."""
    pairs = list(zip(images.parts[:-1], masks.parts[:-1], strict=False))
    head = next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))
    pairs = list(zip(images.parts[:head:-1], masks.parts[:head:-1], strict=False))
    tail = next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))
    for first in dict.fromkeys((0, head)):  # the names before it are open
        yield tuple(
            _joined(
                SPLIT if part in _SPLITS else "**" if n < first or n >= len(folder.parts) - tail else part
                for n, part in enumerate(folder.parts)
            )
            for folder in (images, masks)
        )


def _joined(words):
    """Return names with `/` behind each, of neighbouring `**` one."""
    kept: list[str] = []
    for word in words:
        if (word, *kept[-1:]) != ("**", "**"):
            kept.append(word)
    return "".join(f"{word}/" for word in kept)


def _annotations(folders):
    """Return what `kseg convert` calls the annotations that are there, `None` without any."""
    for kind, suffix, words in _ANNOTATIONS:
        for names in folders.values():
            if any(name.lower().endswith(suffix) and any(w in name.lower() for w in words) for name in names):
                return kind
    if any(
        "labels" in folder.parts and name.endswith(".txt")
        for folder, names in folders.items()
        for name in names
    ):
        return "yolo"
    for names in folders.values():
        stems = {Path(name).stem for name in names if Path(name).suffix.lower() in SUFFIXES}
        if any(name.endswith(".json") and Path(name).stem in stems for name in names):
            return "labelme"
    return None
