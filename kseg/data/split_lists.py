"""Lists that say which pictures are in a split: text files, a picture on each line."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from kseg.data.patterns import Match
from kseg.disk import check_regular

_SHOWN = 3


def listed(file: Path, images: Mapping[tuple, Match], root: Path, lines: list[str] | None = None) -> set:
    """Return the keys of the pictures that a list names.

    A line is the path of a picture below the folder, its name or its stem; what follows a blank (the mask,
    a class) does not count unless the whole line names a picture, nor do empty lines and those with `#`.

    Args:
        file: the list.
        images: key → picture, what there is.
        root: the folder of the data set.
        lines: takes a problem for each name without a picture and each name that stands twice; else they
            are an error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for names of no picture, or that stand twice; it names the lines.
    """
    known, several = _names_of(images, root)
    missing, unclear, found = [], [], defaultdict(list)
    for number, line in enumerate(_lines(file), 1):
        if not line or line.startswith("#"):
            continue
        name = next((name for name in (line, line.split()[0]) if _plain(name) in known), None)
        if name is None and _plain(line.split()[0]) in several:
            unclear.append(f"line {number} {line.split()[0]!r}")
        elif name is None:
            missing.append(f"line {number} {line.split()[0]!r}")
        else:
            found[known[_plain(name)]].append(str(number))
    twice = [f"lines {' and '.join(numbers)}" for numbers in found.values() if len(numbers) > 1]
    problems = []
    if missing:
        problems.append(
            f"{file}: names pictures that are not there: {_some(missing)}; add them or remove the lines"
        )
    if unclear:
        problems.append(f"{file}: names that several pictures have: {_some(unclear)}; write their paths")
    if twice:
        problems.append(f"{file}: names a picture twice: {_some(twice)}; remove one")
    if problems and lines is None:
        raise ValueError(problems[0])
    if lines is not None:
        lines += problems
    return set(found)


def _lines(file):
    check_regular(file)
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except FileNotFoundError:
        raise FileNotFoundError(f"{file}: no such file; it lists the pictures of the split") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: expected UTF-8 text, {error}; save it as UTF-8") from error


def _names_of(images, root):
    """Return name → key, for every name that means one picture alone, and the names that mean several."""
    keys = defaultdict(set)
    for key, match in images.items():
        relative = match.path.relative_to(root)
        starred = Path(*match.stars) if any(match.stars) else relative
        for path in (relative, Path(match.path.name)):
            keys[_plain(path.as_posix())].add(key)
            keys[_plain(path.with_suffix("").as_posix())].add(key)
        keys[_plain(starred.as_posix())].add(key)
    one = {name: next(iter(found)) for name, found in keys.items() if len(found) == 1}
    return one, {name for name, found in keys.items() if len(found) > 1}


def _plain(name):
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./").lstrip("/"))


def _some(items):
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")
