"""Pictures and masks paired by what the stars of their patterns match; what does not pair is named."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kseg.data import headers
from kseg.data.detection import images_of, masks_of
from kseg.data.hints import held, held_below, nearest, other_patterns, unread
from kseg.data.layouts import Layout
from kseg.data.mask_files import MASK_SUFFIXES
from kseg.data.offering import offer
from kseg.data.patterns import SPLIT, Match, Pattern


def by_stars(pattern: Pattern, root: Path, split: str, others: set[Path] | None = None) -> dict[tuple, Match]:
    """Return what the stars match → file; `others` do not count."""
    found: dict[tuple, Match] = {}
    for match in pattern.find(root, split):
        if others and match.path in others:
            continue
        if match.stars in found:
            raise ValueError(
                f"{match.path}: {found[match.stars].path.name} has the same stem; remove one of them"
            )
        found[match.stars] = match
    return dict(sorted(found.items()))


def pair_keys(
    root: Path,
    layout: Layout,
    split: str,
    images: Mapping[tuple, Match],
    masks: Mapping[tuple, Match],
    unpaired: list[str] | None,
    surplus: bool,
) -> list[tuple]:
    """Return the keys of the pairs.

    Args:
        root, layout: where the files are.
        split: what the folder calls it.
        images, masks: what the stars match → file.
        unpaired: takes a line for each folder with files that do not pair; else they are an error.
        surplus: whether masks without pictures are a problem.

    Raises:
        FileNotFoundError: if a folder is missing.
        ValueError: if nothing pairs, or a file lacks its other half; it names what would pair them.
    """
    image_folder, mask_folder = (pattern(layout).folder(root, split) for pattern in (images_of, masks_of))
    wanted = (layout.images.replace(SPLIT, split), layout.masks.replace(SPLIT, split))
    if not image_folder.is_dir():
        raise FileNotFoundError(
            f"{image_folder}: no such folder; pictures are at {wanted[0]}{nearest(image_folder)}"
        )
    if not mask_folder.is_dir():
        raise FileNotFoundError(
            f"{mask_folder}: no such folder; {offer(root)}masks go there, one per picture, same stem"
            f"{nearest(mask_folder)}"
        )
    if not images:
        raise ValueError(
            f"{image_folder}: no pictures ({', '.join(headers.SUFFIXES)}) in this folder"
            + ("" if layout.own else f" at {wanted[0]}")
            + (f", but {found}; save them as JPEG or PNG" if (found := held_below(image_folder)) else "")
        )
    keys = sorted(images.keys() & masks.keys())
    if not keys:
        raise ValueError(
            f"{image_folder}: no picture shares its stem with a mask in {mask_folder}: "
            f"{_some(images)} against {_some(masks) or _nothing(mask_folder)}; give each pair the same stem"
            f"{_other_patterns(layout, images, masks)}"
        )
    problems = _odd(
        f"{image_folder}: pictures without a mask in {mask_folder}", images, masks, root, wanted[1]
    )
    if surplus:
        problems += _odd(
            f"{mask_folder}: masks without a picture in {image_folder}", masks, images, root, wanted[0]
        )
    if problems and unpaired is None:
        raise ValueError(problems[0])
    if unpaired is not None:
        unpaired += problems
    return keys


def _nothing(folder):
    """Return what a folder without masks holds instead."""
    others = held(folder)
    return f"no mask ({others}; {', '.join(headers.SUFFIXES)} are read)" if others else "an empty folder"


def _some(files):
    names = [match.path.name for match in list(files.values())[:3]]
    return ", ".join(names) + (", ..." if len(files) > 3 else "")


def _other_patterns(layout, images, masks):
    if not masks:
        return ""
    return other_patterns(layout, [stars[-1] for stars in images], [stars[-1] for stars in masks])


def _odd(what, files, others, root, pattern):
    """Return the problem, as a list of at most one line, that `files` have no counterpart among `others`."""
    odd = {key: match for key, match in files.items() if key not in others}
    if not odd:
        return []
    wanted = _filled(pattern, next(iter(odd)))
    mend = f"{unread(root / wanted, MASK_SUFFIXES)}add what is missing or move them away"
    return [f"{what}: {len(odd)} ({_some(odd)}); expected {wanted}; {mend}"]


def _filled(pattern: str, stars: Sequence[str]) -> str:
    """Return a pattern with texts in the place of its stars."""
    texts = iter(stars)
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append(next(texts))
            continue
        ending = ".*" if part.endswith((".*", "*")) else ""
        body = part.removesuffix(".*")
        pieces = body.split("*")
        parts.append(pieces[0] + "".join(next(texts) + piece for piece in pieces[1:]) + ending)
    return "/".join(part for part in parts if part)
