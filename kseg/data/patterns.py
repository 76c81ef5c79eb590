"""Patterns of paths: what their stars match says which picture and which mask belong together."""

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SPLIT = "{split}"
CLASS = "{class}"  # of masks, where each class has a file of its own
_NAMED = {SPLIT: "split", CLASS: "label"}
_WORDS = re.compile(r"\{split\}|\{class\}|\*+|[^*{]+|\{")
_LEFT_BY_SYSTEMS = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found")  # beside what begins with a dot
# What folders call a split that is asked for by its usual name.
OTHER_NAMES = {
    "train": ("training", "Train", "Training"),
    "val": ("valid", "validation", "Val", "Validation"),
    "test": ("testing", "Test", "Testing"),
}


@dataclass(frozen=True)
class Match:
    """A file that a pattern matches.

    Attributes:
        path: of the file.
        stars: what each star matched, composed Unicode; of a picture and its mask they are the same.
        split: what `{split}` matched, "" where the pattern has none.
        label: what `{class}` matched, likewise.
    """

    path: Path
    stars: tuple[str, ...]
    split: str = ""
    label: str = ""


@dataclass(frozen=True)
class Pattern:
    """A pattern of paths below a folder: `"leftImg8bit/{split}/**/*_leftImg8bit.png"`.

    `*` is any text within a name, `**` any number of folders, `{split}` the name of the split, `{class}`
    that of a class which has a file of its own; all else stands for itself. A last name that ends in a star,
    or in `.*`, stands for files of any suffix that is read. A suffix may be in capitals. Hidden files and
    folders do not count.

    Attributes:
        text: the pattern, with `/`.
        suffixes: those of the files that count, lower case.
    """

    text: str
    suffixes: tuple[str, ...]

    @property
    def parts(self) -> list[str]:
        """The names between `/`."""
        return _composed(self.text).split("/")

    @property
    def stars(self) -> int:
        """How many texts its stars match."""
        any_suffix = self.parts[-1].endswith(".*")
        return sum(len(re.findall(r"\*+", part)) for part in self.parts) - any_suffix

    @property
    def letters(self) -> int:
        """How many letters stand for themselves."""
        return sum(len(word) for word in _WORDS.findall(self.text) if word[0] != "*" and word not in _NAMED)

    def folder(self, root: Path, split: str = "") -> Path:
        """Return the folder below which all files of a split are: the names before the first star."""
        parts = [part.replace(SPLIT, split) if split else part for part in self.parts[:-1]]
        stop = next((i for i, part in enumerate(parts) if any(w in part for w in ("*", *_NAMED))), len(parts))
        return root.joinpath(*parts[:stop])

    def find(self, root: Path, split: str | None = None) -> Iterator[Match]:
        """Yield the files that match, sorted by folder.

        A name that its star and `{class}` may share in several ways comes in each, the longest star first.

        Args:
            root: the folder that the pattern begins at.
            split: the text of `{split}`; `None` for any.
        """
        parts = self.parts if split is None else [part.replace(SPLIT, split) for part in self.parts]
        for path, stars, names in _walk(Path(root), parts, self.suffixes):
            yield Match(path, stars, names.get("split", split or ""), names.get("label", ""))

    def splits(self, root: Path) -> list[str]:
        """Return what `{split}` matches in a folder, sorted; a split without files is none."""
        before = next(i for i, part in enumerate(self.parts) if SPLIT in part)
        if before == len(self.parts) - 1:
            return sorted({match.split for match in self.find(root)})
        walked = _walk(Path(root), self.parts[: before + 1], None)
        heads = {(path, names["split"]) for path, _, names in walked}
        rest = Pattern("/".join(self.parts[before + 1 :]), self.suffixes)
        return sorted({name for path, name in heads if any(True for _ in rest.find(path, name))})


def check_pattern(argument: str, text: object) -> str:
    """Return a pattern with `/` between names; raise `ValueError` unless it is relative and has a star."""
    if not isinstance(text, str) or not text:
        raise ValueError(f"{argument} must be a pattern such as 'images/{{split}}/**/*.png', got {text!r}")
    text = text.replace(os.sep, "/").removeprefix("./")
    parts = text.split("/")
    if text.startswith("/") or ".." in parts or "" in parts:
        raise ValueError(f"{argument} must be a pattern below the folder of the data set, got {text!r}")
    if any("**" in part and part != "**" for part in parts) or "*" not in text or parts[-1] == "**":
        raise ValueError(
            f"{argument} must end in a name with a star, and ** stands between two /, as in "
            f"'images/**/*.png', got {text!r}"
        )
    return text


def is_hidden(name: str) -> bool:
    """Tell whether a file or folder is one that systems and editors leave behind."""
    return name.startswith(".") or name in _LEFT_BY_SYSTEMS


def usual_name(split: str) -> str:
    """Return the usual name of a split that a folder calls otherwise: "val" of "validation"."""
    return next((usual for usual, others in OTHER_NAMES.items() if split in others), split)


def entries(folder: Path) -> list[Path]:
    """Return what is in a folder and not hidden, sorted; nothing where it is no folder."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if not is_hidden(path.name)]


def _composed(text):
    return unicodedata.normalize("NFC", text)  # some disks and archives take an accent apart


def _walk(folder, parts, suffixes, above=()):
    """Yield `(path, stars, words)` of what matches: those of `_NAMED`; `suffixes` is `None` for folders."""
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _below(folder, rest, suffixes, above, ())
        return
    for path, stars, names in _named(folder, part, suffixes if not rest else None):
        if not rest:
            yield path, stars, names
        elif path.is_dir():
            for found, more, deeper in _walk(path, rest, suffixes):
                if all(names[word] == deeper.get(word, names[word]) for word in names):
                    yield found, stars + more, names | deeper


def _below(folder, parts, suffixes, above, names):
    """Yield what matches in a folder and all those below it; a link to a folder above ends there."""
    if not folder.is_dir():
        return
    status = folder.stat()
    if (status.st_dev, status.st_ino) in above:
        return
    for path, stars, words in _walk(folder, parts, suffixes):
        yield path, ("/".join(names), *stars), words
    above = (*above, (status.st_dev, status.st_ino))
    for path in entries(folder):
        if path.is_dir():
            yield from _below(path, parts, suffixes, above, (*names, _composed(path.name)))


def _named(folder, part, suffixes):
    """Yield `(path, stars, words)` of what in a folder has a name that matches."""
    if suffixes is None and not any(word in part for word in ("*", *_NAMED)) and (folder / part).exists():
        yield folder / part, (), {}
        return
    any_suffix = part.endswith("*") and suffixes is not None
    part = part.removesuffix(".*") if part.endswith(".*") and any_suffix else part
    for path in entries(folder):
        name = _composed(path.name)
        if suffixes is not None:
            suffix = Path(name).suffix
            if suffix.lower() not in suffixes:
                continue
            name = name.removesuffix(suffix) + ("" if any_suffix else suffix.lower())
        for groups in _readings(part, name):
            names = {word: groups.pop(word) for word in ("split", "label") if word in groups}
            yield path, tuple(groups.values()), names


def _readings(part, name):
    """Yield the texts that a name has in the place of each word of a pattern, in every way it can be read."""
    longest = None
    while found := _expression(part, longest).fullmatch(name):
        groups = found.groupdict()
        yield groups
        if CLASS not in part or not groups.get("star0"):
            return
        longest = len(groups["star0"]) - 1


@lru_cache(maxsize=1024)
def _expression(part, longest=None):
    """Return the regular expression of a name in a pattern; its suffix is in lower case.

    Args:
        part: of the pattern.
        longest: of the text of the first star.
    """
    suffix = Path(part).suffix
    if suffix and "*" not in suffix and "{" not in suffix:
        part = part.removesuffix(suffix) + suffix.lower()
    words, stars, seen = [], 0, set()
    for word in _WORDS.findall(part):
        if word in _NAMED:
            name = _NAMED[word]
            words.append(f"(?P={name})" if name in seen else f"(?P<{name}>.+{'?' * (word == CLASS)})")
            seen.add(name)
        elif word[0] == "*":
            most = "*" if stars or longest is None else f"{{0,{longest}}}"
            words.append(f"(?P<star{stars}>.{most})")
            stars += 1
        else:
            words.append(re.escape(word))
    return re.compile("".join(words), re.DOTALL)
