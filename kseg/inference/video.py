"""Videos, by OpenCV: their frames in RGB, and a video of pictures."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from kseg.types import PathLike

_LEAST = 0.9  # of the frames that a video says it has; some say a few too many
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")


def is_video(path: PathLike) -> bool:
    """Tell whether a file is a video by its name."""
    return Path(path).suffix.lower() in VIDEOS


def frames_of(path: PathLike, channels: int = 3) -> Iterator[tuple[int, np.ndarray]]:
    """Yield `(number, frame)` of a video, from 0; frames are uint8 `(H, W, channels)`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be decoded, or if the model takes neither 1 nor 3 channels.
    """
    import cv2

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if channels not in (1, 3):
        raise ValueError(f"{path}: the frames of a video have 3 channels, the model takes {channels}")
    film, number = cv2.VideoCapture(str(path)), 0
    try:
        while film.isOpened():
            read, frame = film.read()
            if not read:
                break
            code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY
            yield number, cv2.cvtColor(frame, code).reshape(*frame.shape[:2], channels)
            number += 1
    finally:
        film.release()
    promised = frames_in(path)[0] or 0
    if 0 < number < _LEAST * promised:
        raise ValueError(f"{path}: {number} of {promised} frames can be decoded; it is cut short or damaged")
    if not number:
        raise ValueError(f"{path}: no frame of this video can be decoded; convert it to H.264 in .mp4")


def frames_in(path: PathLike) -> tuple[int | None, float]:
    """Return how many frames a video says that it has, `None` if nothing, and frames per second."""
    import cv2

    film = cv2.VideoCapture(str(path))
    count, rate = int(film.get(cv2.CAP_PROP_FRAME_COUNT)), float(film.get(cv2.CAP_PROP_FPS))
    film.release()
    return (count if count > 0 else None), (rate if 0 < rate < 1000 else 25.0)


def write_video(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    """Write pictures uint8 `(H, W, 3)` of one size as an `.mp4`; odd sides lose a row or column.

    Raises:
        OSError: if OpenCV cannot write it.
    """
    import cv2

    writer, count = None, 0
    try:
        for frame in frames:
            height, width = (max(2, side // 2 * 2) for side in frame.shape[:2])
            if writer is None:
                code = cv2.VideoWriter.fourcc(*"mp4v")
                writer = cv2.VideoWriter(str(path), code, rate, (width, height))
                if not writer.isOpened():
                    raise OSError(f"{path}: OpenCV cannot write this video")
            count += 1
            writer.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))
    finally:
        if writer is not None:
            writer.release()
    if count != frames_in(path)[0]:  # OpenCV tells nothing of what it could not write
        raise OSError(errno.ENOSPC, f"{path}: not all {count} frames were written")
