"""What may be meant where files are not found or do not pair: what is there, near names, other patterns."""

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kseg.data.layouts import Layout
from kseg.data.patterns import entries, is_hidden

_SHOWN = 4


def nearest(path: Path) -> str:
    """Return a question for the name beside a missing path that is most like its own, "" without one."""
    names = [other.name for other in entries(path.parent)]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def held(folder: Path) -> str:
    """Return what is in a folder: those in it by name, files by their number and suffix, "" for nothing."""
    inner = [f"{path.name}/" for path in entries(folder) if path.is_dir()][:_SHOWN]
    return ", ".join([*inner, *_counted([path.name for path in entries(folder) if path.is_file()])])


def held_below(folder: Path) -> str:
    """Return what files are in a folder and below it, by their number and suffix, "" for none."""
    names = []
    for _, inner, files in os.walk(folder):
        inner[:] = [name for name in inner if not is_hidden(name)]
        names += [name for name in files if not is_hidden(name)]
    return ", ".join(_counted(names))


def _counted(names):
    suffixes = Counter(Path(name).suffix or name for name in names)
    return [f"{count} {suffix}" for suffix, count in suffixes.most_common(_SHOWN)]


def unread(wanted: Path, suffixes: Sequence[str]) -> str:
    """Return a hint of a file of the name that is missing whose suffix is not read, "" without one.

    Args:
        wanted: the missing file, of any suffix: `train/images/a.*`.
        suffixes: those that are read.
    """
    stem = wanted.name.removesuffix(".*")
    for path in entries(wanted.parent):
        if path.stem == stem and path.suffix.lower() not in suffixes and path.is_file():
            return f"{path.name} is there and is not read: save it as JPEG or PNG; "
    return ""


def other_patterns(layout: Layout, images: Sequence[str], masks: Sequence[str]) -> str:
    """Return a hint of the patterns that would pair files whose names differ by beginnings and endings.

    Args:
        layout: where the files are.
        images, masks: what the last star of its patterns matches, at least one of each.
    """
    around = _contained(images, masks)
    if around is None and (mirrored := _contained(masks, images)):
        around = mirrored[1], mirrored[0]
    around = around or _framed(images, masks)
    if around is None:
        return ""
    patterns = (("images", layout.images, around[0]), ("masks", layout.masks, around[1]))
    said = [f"{word}={_within(pattern, *ends)!r}" for word, pattern, ends in patterns if any(ends)]
    return f", or say {' and '.join(said)}"


def _contained(inner, outer):
    """Return `(("", ""), (before, after))` of stems that stand within others."""
    for stem in inner:
        if not stem or stem not in outer[0] or stem == outer[0]:
            continue
        before, _, after = outer[0].partition(stem)
        if {before + name + after for name in inner} & set(outer):
            return ("", ""), (before, after)
    return None


def _framed(images, masks):
    """Return `(before, after)` of both where what all of one side begin and end with is cut off."""
    if min(len(images), len(masks)) < 2:
        return None
    frames = [_frame(images), _frame(masks)]
    cores = [
        {stem[len(before) : len(stem) - len(after)] for stem in stems}
        for stems, (before, after) in zip((images, masks), frames, strict=True)
    ]
    return frames if cores[0] & cores[1] else None


def _frame(stems):
    """Return what all stems begin with, and what the rest of them ends with."""
    before = _beginning(stems)
    return before, _beginning([stem[len(before) :][::-1] for stem in stems])[::-1]


def _beginning(stems):
    """Return what all stems begin with: what the first and the last in order do."""
    first, last = min(stems), max(stems)
    same = (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, len(first))]


def _within(pattern, before, after):
    """Return a pattern whose last star stands between two texts."""
    folder, _, last = pattern.rpartition("/")
    last = last.replace("*", f"{before}*{after}", 1) if last.count("*") == 1 else last
    if last == f"{before}*{after}" and after:
        last += ".*"
    return f"{folder}/{last}"
