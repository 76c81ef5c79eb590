"""What is to be done: each picture or video with the files that shall become of it."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kseg.data.headers import image_header
from kseg.inference.inputs import find_pictures, has_stars, is_list, is_picture
from kseg.inference.video import is_video
from kseg.results.geo import is_georeferenced
from kseg.results.kinds import targets_of
from kseg.types import PathLike


@dataclass(frozen=True)
class Job:
    """A picture or a video.

    Attributes:
        name: of it, below the folder that was given.
        path: of its file.
        stem: where its results go, and how their names begin.
        named: whether it was named by itself, not found in a folder.
        targets: kind → path of its files; `"frames"` is the folder of those of a video.
        on_a_map: whether it is read by windows and gives TIFFs: it has a place, or is beyond memory.
    """

    name: str
    path: Path
    stem: Path
    named: bool
    targets: dict[str, Path]
    on_a_map: bool = False

    @property
    def is_video(self) -> bool:
        """Whether it is a video."""
        return "frames" in self.targets or is_video(self.path)


def find_jobs(images: PathLike | Sequence[PathLike], output: Path) -> list[Job]:
    """Return the jobs of what was given, without their files.

    Args:
        images: a path of a picture, video, folder, glob or list, or several.
        output: folder of the results; what lies in it is no picture.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if `output` is the folder of the pictures.
    """
    jobs = []
    for each in [images] if isinstance(images, str | os.PathLike) else images:
        path = Path(each)
        if path.is_dir() and path.resolve() == output.resolve():
            raise ValueError(f"{path}: holds the pictures; choose another output=")
        if path.is_dir() or is_list(path) or (has_stars(path) and not path.exists()):
            found = {
                name: file
                for name, file in find_pictures(path).items()
                if output.resolve() not in file.resolve().parents
            }
            if not found:
                raise FileNotFoundError(f"{path}: no pictures but those in {output}")
            jobs += [
                Job(name, file, output / Path(name).with_suffix(""), False, {})
                for name, file in found.items()
            ]
        else:
            jobs.append(Job(path.name, path, output / path.stem, True, {}))
    return jobs


def places_of(images: PathLike | Sequence[PathLike]) -> list[str]:
    """Return the folders, globs, lists and videos that were given, and the folders of pictures."""
    given = [images] if isinstance(images, str | os.PathLike) else images
    paths = [Path(each).absolute() for each in given]
    return sorted({str(path.parent if is_picture(path) and path.is_file() else path) for path in paths})


def in_shard(jobs: list[Job], shard: tuple[int, int]) -> list[Job]:
    """Return the jobs of the I-th of N parts: by their names, whatever the others are."""
    number, count = shard
    digests = [hashlib.sha256(job.name.encode("utf-8", "surrogatepass")).digest() for job in jobs]
    pairs = zip(jobs, digests, strict=True)
    return [job for job, digest in pairs if int.from_bytes(digest[:8], "big") % count == number - 1]


def with_targets(jobs: list[Job], kinds: Sequence[str], multilabel: bool = False) -> list[Job]:
    """Return the jobs with their files.

    Raises:
        ValueError: if two would write the same file, or one would overwrite a picture.
    """
    made = [_with_targets(job, kinds, multilabel) for job in jobs]
    folders = {job.targets["frames"]: job for job in made if "frames" in job.targets}
    writers = defaultdict(list)
    for job in made:
        for target in job.targets.values():
            writers[target].append(job)
    for target, those in writers.items():
        film = next((folders[each] for each in target.parents if each in folders), None)
        if film is not None:
            raise ValueError(
                f"{target}: would lie among the frames of {film.path}; predict them into two folders"
            )
        if len(those) > 1:
            raise ValueError(
                f"{those[0].path} and {those[1].path}: the results of two pictures would have the same name, "
                f"{target.name}; predict them into two folders"
            )
    pictures = {job.path.resolve() for job in made}
    for target in writers:
        if target.resolve() in pictures:
            raise ValueError(f"{target}: would overwrite a picture; choose another output=")
    return made


def _with_targets(job, kinds, multilabel):
    if is_video(job.path):
        frames = {"frames": job.stem} if set(kinds) - {"overlay"} else {}
        overlay = (
            {"overlay": job.stem.with_name(f"{job.stem.name}_overlay.mp4")} if "overlay" in kinds else {}
        )
        return replace(job, targets=frames | overlay)
    on_a_map = is_georeferenced(job.path) or _is_large(job.path)
    targets = targets_of(job.stem, kinds, on_a_map=on_a_map, multilabel=multilabel)
    return replace(job, targets=targets, on_a_map=on_a_map)


def _is_large(path):
    """Tell whether a picture is beyond memory; one that cannot be read is not."""
    if path.suffix.lower() not in (".tif", ".tiff", ".npy"):
        return False
    try:
        return image_header(path, deep=True, windows=True).is_large
    except (OSError, ValueError):
        return False


def check_free(jobs: Sequence[Job], overwrite: bool, of_others: bool = False) -> None:
    """Raise `FileExistsError` if a file is there already, unless it may be replaced.

    Args:
        jobs: with their targets.
        overwrite: whether it may.
        of_others: whether the folder tells that another model or other options made it.
    """
    why = ", by another model or other options" if of_others else ""
    for job in jobs:
        for target in job.targets.values():
            if target.exists() and not overwrite:
                raise FileExistsError(
                    f"{target}: exists already{why}; add overwrite=True or choose another output="
                )
