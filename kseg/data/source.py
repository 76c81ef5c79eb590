"""A data set on disk: which files it has, and how they are read."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from kseg.data.class_patterns import classes_in
from kseg.data.colors import Colors
from kseg.data.detection import colors_of, detect, find_splits, images_of, layout_named, masks_of, names_of
from kseg.data.files import ImageMaskFiles, find_files
from kseg.data.layouts import Layout
from kseg.data.name_files import read_class_names, read_names
from kseg.data.passed_over import passed_over
from kseg.data.patterns import CLASS, check_pattern
from kseg.masks import void_ids
from kseg.types import PathLike

_NAMELESS = -(2**31)  # neither a class nor void


@dataclass
class Source:
    """Pictures and masks on disk, as the user names them; every reader and the check ask it.

    Attributes:
        root: the folder.
        layout: `None` or the name of a layout; `None` becomes the one that is found, or stays where the
            patterns alone tell where the files are.
        images, masks, split_file: `None` or patterns, in the place of those of the layout.
        group, validation_fraction: how a folder without splits is divided.
        fold: `None` or `(i, k)`: the `i`-th of `k` folds is "val".
        given: the files themselves, instead of a folder.
        class_names, label_map, ignore_class, colors: what the masks mean, as for `kseg.data.from_directory`;
            they become those of the layout where the user says nothing.
        channels, value_range, page: how pictures are read, likewise.
        is_sorted: whether the order of the classes, a later one above, is that of the alphabet alone.
    """

    root: PathLike
    validation_fraction: float = 0.2
    class_names: Sequence[str] | None = None
    label_map: Mapping[int, int] | None = None
    ignore_class: int | Sequence[int] = 255
    colors: Colors = None
    channels: int | None = None
    value_range: Any = None
    page: int | None = None
    given: ImageMaskFiles | None = None
    layout: str | None = None
    images: str | None = None
    masks: str | None = None
    split_file: str | None = None
    group: str | None = None
    fold: tuple[int, int] | None = None
    place: Layout = field(init=False)
    is_sorted: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if isinstance(self.class_names, str):
            raise ValueError(f"class_names must be a list of names, got {self.class_names!r}")
        if self.class_names is not None and not len(self.class_names):
            raise ValueError("class_names is empty; name the classes, or leave it out")
        self._layout_is_named = self.layout is not None
        self._told = self.layout is None and self.images is None and self.masks is None
        self.place = Layout("", "", "") if self.given is not None else self._place()
        self.layout = self.place.name or None
        if self.given is None:
            self._take_meaning()

    def _place(self) -> Layout:
        """Return where the files are."""
        patterns = {word: getattr(self, word) for word in ("images", "masks", "split_file")}
        patterns = {word: _checked(word, text) for word, text in patterns.items() if text is not None}
        root = Path(self.root).expanduser()
        if self.layout is not None:
            place = layout_named(self.layout)
        elif {"images", "masks"} <= patterns.keys():
            place = Layout("", "", "")
        else:
            unknown = "kseg_unsplit" if (root / "images").is_dir() else "kseg"
            place = detect(root) or layout_named(unknown)
        place = replace(place, **patterns)
        stars = images_of(place).stars, masks_of(place).stars
        if CLASS in place.images or place.masks.count(CLASS) > 1:
            raise ValueError(f"{CLASS} stands once, in masks, got {place.images!r} and {place.masks!r}")
        if CLASS in place.masks and self.colors is not None:
            raise ValueError(
                f"masks={place.masks!r} has a file for each class, without colours; leave out colors="
            )
        if stars[0] != stars[1]:
            raise ValueError(
                f"images and masks must have as many stars, which pair the files, got {stars[0]} in "
                f"{place.images!r} and {stars[1]} in {place.masks!r}"
            )
        return place

    def _take_meaning(self) -> None:
        """Take the names and the map of the layout, or of its files, where the user gave none."""
        root = Path(self.root).expanduser()
        if CLASS in self.place.masks and self.class_names is None and self.names_file() is None:
            self.class_names, self.is_sorted = classes_in(root, self.place), True
            if len(self.class_names) == 1 and root.is_dir():
                raise ValueError(
                    f"{root}: masks={self.place.masks!r} finds no classes beside the pictures of "
                    f"images={self.place.images!r}; give class_names, which say what {CLASS} stands for"
                )
        pattern = colors_of(self.place)
        if self.colors is None and pattern is not None:
            self.colors = next((match.path for match in pattern.find(root)), None)
        if self.colors is not None:
            return
        label_map, names = self.place.label_map, self.place.class_names
        own, pattern = self._own_names(), names_of(self.place)
        # other names, or other masks, are other ids
        is_of_others = len(own) not in (0, len(names)) or (
            self.masks is not None and not self._layout_is_named
        )
        label_map = {} if is_of_others else label_map
        if pattern is not None and self.class_names is None:
            read = (read_names(match.path) for match in pattern.find(root))
            found = next((names for names in read if names), {})
            classes = [id for id in sorted(found) if found[id] is not None]
            names = tuple(str(found[id]) for id in classes)
            label_map = {id: new for new, id in enumerate(classes) if id != new}
            label_map |= {id: 255 for id, name in found.items() if name is None}
            # an id without a name would else be taken for the class of its number
            label_map |= {id: _NAMELESS for id in range(len(classes)) if id not in found}
        if self.class_names is None and self.names_file() is None and names:
            self.class_names = list(names)
        if not self.label_map and (label_map or (self.place.class_names and not is_of_others)):
            self.label_map = self._with_void(label_map)

    def _own_names(self) -> list[str]:
        """Return the names that are the user's: given, or in the file of names; none where they are not."""
        if self.class_names is not None:
            return list(self.class_names)
        file = self.names_file()
        return [] if file is None else read_class_names(file)

    def _with_void(self, label_map: Mapping[int, int]) -> dict[int, int]:
        """Return the map of a layout, whose void is 255, for the void that was asked for."""
        voids = void_ids(self.ignore_class)
        if 255 in voids or not voids:
            return dict(label_map)
        return {id: voids[0] if new == 255 else new for id, new in {255: 255, **label_map}.items()}

    def splits(self) -> list[str]:
        """Return the names of the splits that are there."""
        if self.given is not None:
            return ["files"]
        return ["train", "val"] if self.fold is not None else self._splits_there()

    def _splits_there(self) -> list[str]:
        return find_splits(Path(self.root).expanduser(), self.place)

    def names_file(self) -> Path | None:
        """Return the file with the names of the classes, `None` where there is none."""
        file = Path(self.root).expanduser() / "classes.txt"
        return file if self.given is None and file.is_file() else None

    def notes(self) -> list[str]:
        """Return a line for the layout that was found, and for what was passed over, with its count."""
        root = Path(self.root).expanduser()
        if self.given is not None or not root.is_dir():
            return []
        place = self.place
        told = [f"{root}: has the layout {place.name!r}: {place.images} and {place.masks}"]
        return (told if self._told and not place.own else []) + passed_over(root, place, self._splits_there())

    def files(self, split: str, unpaired: list[str] | None = None) -> ImageMaskFiles:
        """Return the files of a split.

        Args:
            split: its name.
            unpaired: takes a line for each folder with files that do not pair; else they are an error.

        Raises:
            FileNotFoundError, ValueError: as `kseg.data.files.find_files`.
        """
        if self.given is not None:
            return self.given
        root = Path(self.root).expanduser()
        drawn = (self.validation_fraction, self.group)
        return find_files(root, self.place, split, *drawn, unpaired, self._classes(), self.fold)

    def _classes(self):
        """Return the names of the classes, where the masks have a file for each."""
        names = self._own_names() if CLASS in self.place.masks else ()
        return [unicodedata.normalize("NFC", str(name)) for name in names]  # as the names of files are

    def training_images(self, split: str) -> list:
        """Return the pictures that a range is measured on: of "train", else of the split that is read."""
        return self.files("train" if "train" in self.splits() else split).images


def _checked(argument, text):
    """Return a pattern; that of lists need not have a star."""
    if argument != "split_file":
        return check_pattern(argument, text)
    path = PurePath(text) if isinstance(text, str | PurePath) else PurePath()
    if not path.name or path.is_absolute() or ".." in path.parts:
        raise ValueError(
            f"split_file must be the path of lists below the folder, as '{{split}}.txt', got {text!r}"
        )
    return path.as_posix()
