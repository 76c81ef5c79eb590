"""Pictures read, segmented and written at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kseg.inference.inputs import opened_picture
from kseg.inference.predictor import Predictor
from kseg.results.jobs import Job
from kseg.results.kinds import Look, needed_outputs, write_results
from kseg.results.on_a_map import run_on_a_map
from kseg.results.regions import cleaned
from kseg.results.videos import run_video

_READERS = 2
_WAITING = 6  # pictures that are read, or wait to be written, at most
_BYTES = 2**28  # of them, as far as they are known

Failed = Callable[[Job, Exception], object]


@dataclass(frozen=True)
class Settings:
    """How pictures are segmented.

    Attributes:
        predictor: the models.
        look: names of classes.
        kinds: the files that are written, of `kseg.results.kinds.KINDS`.
        cleaning: arguments of `cleaned`.
        batch_size: pictures, or windows, that are run at once; `None` chooses.
        progress: `None` or a function `(windows done, all windows)` of a picture beyond memory.
    """

    predictor: Predictor
    look: Look
    kinds: Sequence[str]
    cleaning: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    progress: Callable[[int, int], object] | None = None

    @property
    def outputs(self) -> list[str]:
        """The output kinds of the model that the files need."""
        return needed_outputs(self.kinds, self.cleaning.get("min_confidence", 0))

    def finished(
        self, found: dict[str, np.ndarray], empty: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the results of a picture with a clean mask; `empty` is where it holds no data."""
        if empty is not None:
            for kind in found.keys() - (set() if self.look.multilabel else {"classes"}):
                nothing = empty if found[kind].ndim == 2 else empty[..., None]
                found[kind] = np.where(nothing, found[kind].dtype.type(0), found[kind])
        if self.look.multilabel or "classes" not in found:
            return found
        ids = found["classes"]
        if ids.dtype != np.uint8 and self.look.void == 255 and ids.max(initial=0) >= 255:
            raise ValueError(
                f"the model gives ids up to {ids.max()}, and nothing tells how many; give class_names="
            )
        if self.look.void > np.iinfo(ids.dtype).max:
            ids = ids.astype("uint16")
        if empty is not None:
            ids = np.where(empty, ids.dtype.type(self.look.void), ids)
        ids = cleaned(ids, found.get("confidence"), **self.cleaning, void=self.look.void)
        return found | {"classes": ids}


def run_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    done: Callable[[Job], object],
    failed: Failed | None = None,
) -> None:
    """Segment pictures and write their files; decoding, the model and writing overlap.

    Args:
        jobs: with their targets.
        settings: how.
        done: called with a job whose files are all there.
        failed: called with a job and the reason why its picture could not be segmented, after which the
            others go on; `None` raises it.

    Raises:
        OSError: if a file cannot be written.
    """
    with ThreadPoolExecutor(_READERS) as readers, ThreadPoolExecutor(_READERS) as writers:
        run = _Run(settings, done, failed, writers)
        try:
            for job, picture in _read_ahead(jobs, settings, readers):
                if isinstance(picture, Exception):
                    run.fail(job, picture)
                elif isinstance(picture, np.ndarray):
                    run.add(job, picture)
                else:
                    run.alone(job, picture)
            run.flush()
            run.wait(0)
        except BaseException:
            readers.shutdown(cancel_futures=True)
            writers.shutdown(cancel_futures=True)
            raise


class _Run:
    """Pictures of one size that wait for the model, and files that wait to be written."""

    def __init__(self, settings, done, failed, writers) -> None:
        self.settings, self.done, self.failed, self.writers = settings, done, failed, writers
        self.batch: list[tuple[Job, np.ndarray]] = []
        self.writing: deque[tuple[Job, Future]] = deque()

    def fail(self, job, error):
        if self.failed is None or not is_of_a_picture(error):
            raise error
        self.failed(job, error)

    def add(self, job, picture):
        """Take a picture into the batch; run it first where that is full or of another size."""
        if self.batch and self.batch[0][1].shape != picture.shape:
            self.flush()
        self.batch.append((job, picture))
        most = self.settings.batch_size or self.settings.predictor.batch_size_for(picture.shape[:2])
        if len(self.batch) >= most:
            self.flush()

    def flush(self):
        """Run the batch; where that fails each picture alone, so that one bad one is found."""
        batch, self.batch = self.batch, []
        if not batch:
            return
        try:
            found = self._found([picture for _, picture in batch])
        except Exception as error:
            if len(batch) == 1:
                self.fail(batch[0][0], error)
                return
            for each in batch:
                self.batch = [each]
                self.flush()
            return
        for number, (job, picture) in enumerate(batch):
            results = {kind: values[number] for kind, values in found.items()}
            self.wait(_as_many_as_fit(picture, *results.values()))
            self.writing.append((job, self.writers.submit(self._write, job, picture, results)))

    def _found(self, pictures):
        settings = self.settings
        return settings.predictor.results(np.stack(pictures), settings.outputs, settings.batch_size)

    def _write(self, job, picture, found):
        write_results(picture, self.settings.finished(found), job.targets, self.settings.look)

    def wait(self, most):
        """Wait until at most so many pictures are being written."""
        while len(self.writing) > most:
            job, future = self.writing.popleft()
            try:
                future.result()
            except Exception as error:
                self.fail(job, error)
            else:
                self.done(job)

    def alone(self, job, run):
        """Run what is no picture in memory."""
        self.flush()
        self.wait(0)
        try:
            run()
        except Exception as error:
            self.fail(job, error)
        else:
            self.done(job)


def is_of_a_picture(error: Exception) -> bool:
    """Tell whether an error is that of one picture, so that the others may go on."""
    return isinstance(error, ValueError | FileNotFoundError | PermissionError | IsADirectoryError)


def _read_ahead(jobs, settings, readers) -> Iterator[tuple[Job, Any]]:
    """Yield each job with its picture, what runs it, or the error of reading it; the next ones are read."""
    waiting: deque[tuple[Job, Future]] = deque()
    most = 1
    for job in jobs:
        waiting.append((job, readers.submit(_opened, job, settings)))
        while len(waiting) > most:
            first, future = waiting.popleft()
            picture = future.result()
            most = _as_many_as_fit(picture)
            yield first, picture
    for job, future in waiting:
        yield job, future.result()


def _as_many_as_fit(*arrays):
    """Return how many pictures, with their results, may wait where one has these arrays."""
    total = sum(getattr(each, "nbytes", 0) for each in arrays)
    return max(1, min(_WAITING, _BYTES // max(total, 1)))


def _opened(job, settings):
    """Return the pixels of a picture, a function that runs what is none in memory, or an error."""
    try:
        if job.is_video:
            return lambda: run_video(job, settings)
        if job.on_a_map:
            return lambda: run_on_a_map(job, settings)
        return opened_picture(job.path, settings.predictor.runner)
    except Exception as error:
        return error
