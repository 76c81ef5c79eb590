"""A data set on disk: which files it has, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kseg.data.files import ImageMaskFiles, find_files, splits_of
from kseg.types import PathLike


@dataclass(frozen=True)
class Source:
    """Pictures and masks on disk, as the user names them; every reader and the check ask it.

    Attributes:
        root: the folder.
        validation_fraction: the share of "val" where the folder has no splits.
        class_names, label_map, ignore_class: what the masks mean, as for `kseg.data.from_directory`.
        channels, value_range, page: how pictures are read, likewise.
    """

    root: PathLike
    validation_fraction: float = 0.2
    class_names: Sequence[str] | None = None
    label_map: Mapping[int, int] | None = None
    ignore_class: int | Sequence[int] = 255
    channels: int | None = None
    value_range: Any = None
    page: int | None = None
    _found: dict = field(default_factory=dict, compare=False)

    def splits(self) -> list[str]:
        """Return the names of the splits that are there."""
        return splits_of(self.root)

    def files(self, split: str, unpaired: list[str] | None = None) -> ImageMaskFiles:
        """Return the files of a split.

        Args:
            split: its name.
            unpaired: takes a line for each folder with files that do not pair; else they are an error.

        Raises:
            FileNotFoundError, ValueError: as `kseg.data.files.find_files`.
        """
        if unpaired is not None:
            return find_files(self.root, split, self.validation_fraction, unpaired)
        if split not in self._found:
            self._found[split] = find_files(self.root, split, self.validation_fraction)
        return self._found[split]

    def training_images(self, split: str) -> list:
        """Return the pictures that a range is measured on: of "train", else of the split that is read."""
        return self.files("train" if "train" in self.splits() else split).images
