"""A data set on disk: which files it has, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kseg.data.files import ImageMaskFiles, find_files, splits_of
from kseg.types import PathLike


@dataclass(frozen=True)
class Source:
    """Pictures and masks on disk, as the user names them; every reader and the check ask it.

    Attributes:
        root: the folder.
        validation_fraction: the share of "val" where the folder has no splits.
        given: the files themselves, instead of a folder.
        class_names, label_map, ignore_class: what the masks mean, as for `kseg.data.from_directory`.
    """

    root: PathLike
    validation_fraction: float = 0.2
    class_names: Sequence[str] | None = None
    label_map: Mapping[int, int] | None = None
    ignore_class: int | Sequence[int] = 255
    given: ImageMaskFiles | None = None
    _found: dict = field(default_factory=dict, compare=False)

    def splits(self) -> list[str]:
        """Return the names of the splits that are there."""
        return ["files"] if self.given is not None else splits_of(self.root)

    def names_file(self) -> Path | None:
        """Return the file with the names of the classes, `None` where there is none."""
        file = Path(self.root).expanduser() / "classes.txt"
        return file if self.given is None and file.is_file() else None

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
        if unpaired is not None:
            return find_files(self.root, split, self.validation_fraction, unpaired)
        if split not in self._found:
            self._found[split] = find_files(self.root, split, self.validation_fraction)
        return self._found[split]
