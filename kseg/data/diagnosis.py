"""Ids that are not 0 to n - 1: what they look like, and the label map that mends them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kseg.masks import void_ids

_SOFT_LEVELS = 8  # grey levels between the ids, at least, of an interpolated mask
_SOFT_SHARE = 0.8  # of the pixels that the ids themselves hold in such a mask, at least
_MOST = 64  # entries of a label map that can be read
_SPARSE = 16  # numbers from which on ids with gaps are taken for grey levels


@dataclass(frozen=True)
class Diagnosis:
    """What ids look like.

    Attributes:
        text: what is seen and the mend, for the user.
        label_map: the mend, `{id in the file: id}`; empty where files must be made anew.
        certain: whether nothing can be trained on such ids; else they may be meant.
    """

    text: str
    label_map: dict[int, int]
    certain: bool = True


def diagnose(
    counts: Mapping[int, int], num_classes: int | None = None, ignore_class: int | Sequence[int] | None = 255
) -> Diagnosis | None:
    """Return what is wrong with the ids of masks, `None` where nothing is or nothing is known.

    Args:
        counts: id in the files → pixels.
        num_classes: how many classes there are, `None` where nothing says so.
        ignore_class: void.
    """
    void = void_ids(ignore_class)
    ids = sorted(counts)
    classes = [i for i in ids if i not in void]
    if num_classes is not None and all(i < num_classes for i in classes):
        return None
    return (
        _soft(counts, num_classes)
        or _from_one(classes, num_classes)
        or _one_more(classes, num_classes, void)
        or _gaps(classes, num_classes)
    )


def _soft(counts, num_classes):
    """Know the grey levels that interpolation leaves between ids: many, and each rare."""
    ids, total = sorted(counts), sum(counts.values())
    if num_classes is None:
        kept = {ids[0], ids[-1]} if ids else set()
    else:
        kept = set(sorted(ids, key=lambda i: -counts[i])[:num_classes])
    if num_classes is None and len(ids) <= _MOST and ids == list(range(len(ids))):
        return None  # as many classes may well be meant
    between = [i for i in ids if i not in kept and min(kept) < i < max(kept)]
    if len(between) < _SOFT_LEVELS or sum(counts[i] for i in kept) < _SOFT_SHARE * total:
        return None
    return Diagnosis(
        f"{len(between)} levels lie between {sorted(kept)[:5]}, soft edges as interpolation makes them; "
        "resize masks with nearest neighbour, from the ones before",
        {},
    )


def _from_one(classes, num_classes):
    """Know ids 1 to n of n classes."""
    if not classes or classes[0] < 1 or num_classes not in (None, classes[-1]):
        return None
    if num_classes is None and classes != list(range(1, len(classes) + 1)):
        return None
    shifted = {i: i - 1 for i in range(1, classes[-1] + 1)}
    return Diagnosis(f"ids begin with 1; {_map(shifted)}", shifted, num_classes is not None)


def _one_more(classes, num_classes, void):
    """Know ids 0 to n of n classes: the first or the last is void."""
    if num_classes is None or classes[:1] != [0] or classes[-1] != num_classes or len(classes) == num_classes:
        return None
    if not void:
        return None
    last = {num_classes: void[0]}
    first = {0: void[0], **{i: i - 1 for i in range(1, num_classes + 1)}}
    return Diagnosis(f"if {num_classes} is void, {_map(last)}; if 0 is, {_map(first)}", last)


def _gaps(classes, num_classes):
    """Know as many ids as there are classes, with gaps between them."""
    if len(classes) < 2 or (num_classes is not None and len(classes) != num_classes):
        return None
    if num_classes is None and (classes[-1] + 1 < _SPARSE or classes[-1] + 1 < 2 * len(classes)):
        return None
    closed = {old: new for new, old in enumerate(classes) if old != new}
    if len(closed) > _MOST:
        return None
    what = f"ids are {classes[:8]}{' ...' if len(classes) > 8 else ''}, with gaps"
    return Diagnosis(f"{what}; {_map(closed)}", closed)


def _map(label_map):
    return f"map them by label_map={label_map}"
