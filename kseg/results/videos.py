"""A video segmented: the files of its frames in a folder, and its overlays as a video."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from kseg import visualization
from kseg.disk import put_in_place, temporary_folder, whole_file
from kseg.inference.video import frames_in, frames_of, write_video
from kseg.results.jobs import Job
from kseg.results.kinds import names_for, shown_ids, targets_of, write_results

_DIGITS = 6


def run_video(job: Job, settings: Any) -> None:
    """Segment the frames of a video, and write their files whole or not at all.

    Args:
        job: with the targets `"frames"`, a folder, and `"overlay"`, a video.
        settings: `kseg.results.running.Settings`.

    Raises:
        ValueError: if it cannot be decoded.
    """
    folder, film = job.targets.get("frames"), job.targets.get("overlay")
    with contextlib.ExitStack() as stack:
        frames = overlays = None
        if folder is not None:
            frames = stack.enter_context(temporary_folder(folder)) / "frames"
            frames.mkdir()
        shown = _segmented(job, settings, frames, film is not None)
        if film is None:
            for _ in shown:
                pass
        else:
            overlays = stack.enter_context(whole_file(film, "the video"))
            write_video(overlays, shown, frames_in(job.path)[1])
        if frames is not None and folder is not None:
            put_in_place(frames, folder)


def _segmented(job, settings, folder, with_overlays):
    """Write the files of each frame; yield its overlay."""
    batch: list[np.ndarray] = []
    first = 0
    for number, frame in frames_of(job.path, settings.predictor.runner.channels):
        batch.append(frame)
        most = settings.batch_size or settings.predictor.batch_size_for(frame.shape[:2])
        if len(batch) >= most:
            yield from _batch(batch, first, settings, folder, with_overlays)
            batch, first = [], number + 1
    if batch:
        yield from _batch(batch, first, settings, folder, with_overlays)


def _batch(batch, first, settings, folder, with_overlays):
    found = settings.predictor.results(np.stack(batch), settings.outputs, settings.batch_size)
    kinds = [kind for kind in settings.kinds if kind != "overlay"]
    for number, frame in enumerate(batch):
        results = settings.finished({kind: values[number] for kind, values in found.items()})
        if folder is not None:
            stem = folder / f"{first + number:0{_DIGITS}}"
            targets = targets_of(stem, kinds, multilabel=settings.look.multilabel)
            write_results(frame, results, targets, settings.look)
        if with_overlays:
            ids = shown_ids(results, settings.look)
            names = names_for(settings.look, ids)
            yield visualization.overlay(frame, ids, colors=visualization.palette(len(names)))
