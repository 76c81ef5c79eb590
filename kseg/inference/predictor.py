"""One or several models opened for inference, and how a picture of any size goes through them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kseg.inference.resizing import shrink
from kseg.inference.runner import Runner
from kseg.inference.scores import as_probabilities, collapse, ids_type
from kseg.inference.views import AS_IT_IS, View
from kseg.inference.windows import Blend, Read, Region, Windows, run_windows, whole_map
from kseg.pictures import in_pixel_range
from kseg.types import Size

OutputKind = Literal["classes", "probabilities", "confidence"]
OUTPUT_KINDS = ("classes", "probabilities", "confidence")
Window = Literal["auto"] | Size | None

_LARGEST_MAP = 2**29  # bytes of scores of a picture that is run as a whole
_LARGEST_WINDOW, _SMALLEST_WINDOW, _STEP = 1024, 256, 64  # pixels of a side
_WINDOW_MAP = 2**25  # bytes of scores of a window
_LEAST_CHANNELS = 16  # what stands between the layers needs memory too
_BATCH_PIXELS = 2**18  # of pictures that are run at once


@dataclass(frozen=True)
class Predictor:
    """Models opened for inference; what they say is averaged.

    Attributes:
        runners: of the models; its pictures are judged before (`checked`).
        window: `None`, `"auto"` or `(H, W)`, as for `kseg.predict`.
        overlap, blend: as for `kseg.predict`.
        views: of a picture, whose probabilities are averaged.
        crf: `None` or arguments of `kseg.dense_crf`.
    """

    runners: tuple[Runner, ...]
    window: Window = None
    overlap: float = 0.5
    blend: Blend = "gaussian"
    views: tuple[View, ...] = AS_IT_IS
    crf: Mapping[str, Any] | None = None

    @property
    def runner(self) -> Runner:
        """The first model: what they share is read from it."""
        return self.runners[0]

    @property
    def gives_ids(self) -> bool:
        """Whether it is a file that gives class ids alone."""
        return self.runner.output_kind == "classes"

    @property
    def num_classes(self) -> int | None:
        """Number of classes, 2 of a model with one channel, or of labels; `None` where ids come out."""
        count = self.runner.num_classes
        return count if count is None or self.runner.multilabel else max(count, 2)

    @property
    def fixed_size(self) -> Size | None:
        """The size `(H, W)` that the first model of fixed size takes, `None` where all take any."""
        return next((each.input_size for each in self.runners if each.input_size is not None), None)

    @property
    def plain(self) -> bool:
        """Whether one model sees a picture once, as it is."""
        return len(self.runners) == 1 and self.views == AS_IT_IS

    def windows_for(self, size: Size, *, whole: bool = False) -> Windows | None:
        """Return the windows for a picture of a size `(H, W)`, `None` where it is run as a whole.

        Args:
            size: in pixels.
            whole: whether all of it is needed at once, whatever it takes.

        Warns:
            UserWarning: that a picture is too large to be run as a whole, and by which windows it is run.
        """
        side, fixed = self.window, self.fixed_size
        if side is None and not whole and fixed is None and self._map_bytes(size) > _LARGEST_MAP:
            side = "auto"
            warnings.warn(
                f"a picture of {size[1]}×{size[0]} pixels is too large to be run as a whole: it is run by "
                f"windows of {self._auto()[1]}×{self._auto()[0]}; window=(H, W) chooses others",
                UserWarning,
                stacklevel=4,
            )
        if side is None:
            return None
        height, width = self._auto() if side == "auto" else side
        if fixed is None:
            height, width = min(height, size[0]), min(width, size[1])
        return Windows((height, width), self.overlap, "nearest" if self.gives_ids else self.blend)

    def _auto(self):
        if self.fixed_size is not None:
            return self.fixed_size
        channels = max(self.num_classes or 0, _LEAST_CHANNELS)
        side = math.isqrt(_WINDOW_MAP // (4 * channels)) // _STEP * _STEP
        side = min(max(side, _SMALLEST_WINDOW), _LARGEST_WINDOW)
        return side, side

    def _map_bytes(self, size):
        return 4 * max(self.num_classes or 0, _LEAST_CHANNELS) * math.prod(size)

    def batch_size_for(self, size: Size) -> int:
        """Return how many pictures of a size `(H, W)` are run at once."""
        windows = self.windows_for(size, whole=True)
        return max(1, min(16, _BATCH_PIXELS // math.prod(windows.size if windows else size)))

    def checked(self, images: np.ndarray) -> np.ndarray:
        """Return pictures of values 0–255, judged: uint8 or float32.

        Raises:
            ValueError: for other values.
        """
        return in_pixel_range(images, self.runner.input_range)

    def of_picture(
        self, picture: Any, kinds: Collection[str], batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return what is asked for of one picture: an array `(H, W, C)`, or `OnDisk`.

        Raises:
            ValueError: if it is on disk, and all of it would have to be in memory.
        """
        if isinstance(picture, np.ndarray):
            return {kind: each[0] for kind, each in self.results(picture[None], kinds, batch_size).items()}
        return self.by_windows(picture, kinds, self.windows_on_disk(picture.shape[:2]), batch_size)

    def windows_on_disk(self, size: Size) -> Windows:
        """Return the windows for a picture on disk of a size `(H, W)`.

        Raises:
            ValueError: if all of it would have to be in memory.
        """
        seen = f"a picture of {size[1]}×{size[0]} pixels is read by windows"
        if self.crf is not None:
            raise ValueError(
                f"{seen}, and the dense CRF needs all of it; leave crf out, or cut it into tiles"
            )
        windows = self.windows_for(size)
        if windows is None:
            raise ValueError(
                f"{seen}, and {self.runner.name} would have it resized; give window='auto', or (H, W)"
            )
        return windows

    def results(
        self, images: np.ndarray, kinds: Collection[str], batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return what is asked for of pictures `(B, H, W, C)`, a batch of each kind.

        Args:
            images: values 0–255, judged by `checked`.
            kinds: of `OUTPUT_KINDS`.
            batch_size: windows or pictures that are run at once.
        """
        size = images.shape[1:3]
        if self.crf is not None:
            maps = [self._refined(image, batch_size) for image in images]
            return self._stacked([self._given(each, kinds, False) for each in maps])
        windows = self.windows_for(size)
        if windows is not None:
            return self._stacked([self.by_windows(image, kinds, windows, batch_size) for image in images])
        step = batch_size or self.batch_size_for(size)
        found = [self._whole(images[first : first + step], kinds) for first in range(0, len(images), step)]
        return {kind: np.concatenate([each[kind] for each in found]) for kind in kinds}

    def _stacked(self, results):
        return {kind: np.stack([each[kind] for each in results]) for kind in results[0]}

    def _whole(self, images, kinds):
        """Return what is asked for of a batch that is run as a whole."""
        if self.plain and set(kinds) == {"classes"}:
            return {"classes": self.runner.masks(images)}
        found = self._given(self.probabilities(images), kinds, False)
        if "classes" in kinds and self.plain and self.runner.resize == "bilinear":  # as MediaPipe does
            found["classes"] = self.runner.masks(images)
        return found

    def by_windows(
        self, image: Any, kinds: Collection[str], windows: Windows, batch_size: int | None = None
    ) -> dict[str, np.ndarray]:
        """Return what is asked for of a checked picture `(H, W, C)`, or of one on disk, by windows."""
        results: dict[str, np.ndarray] = {}
        parts = self.parts(image.__getitem__, image.shape[:2], kinds, windows, batch_size=batch_size)
        for region, found in parts:
            for kind, part in found.items():
                if kind not in results:
                    results[kind] = np.empty((*image.shape[:2], *part.shape[2:]), part.dtype)
                elif results[kind].dtype != part.dtype:  # ids of which nobody knows how many there are
                    results[kind] = results[kind].astype(np.promote_types(results[kind].dtype, part.dtype))
                results[kind][region] = part
        return results

    def parts(
        self,
        read: Read,
        size: Size,
        kinds: Collection[str],
        windows: Windows,
        *,
        batch_size: int | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Iterator[tuple[Region, dict[str, np.ndarray]]]:
        """Yield what is asked for of a picture in parts `(region, {kind: (h, w, ...)})`, by windows.

        Args:
            read: function of a region, rows and columns, that returns its pixels `(h, w, C)`, values 0–255.
            size: `(H, W)` of the picture.
            kinds, batch_size: as for `results`.
            windows: of `windows_for`.
            progress: `None` or a function `(windows done, all windows)`.
        """
        channels = 1 if self.gives_ids else self.num_classes or 1
        for region, part in run_windows(
            self._window_maps,
            read,
            size,
            windows,
            pixel_bytes=4 * channels,
            batch_size=batch_size or self.batch_size_for(size),
            progress=progress,
        ):
            yield region, self._given(part, kinds, self.plain)

    def _window_maps(self, images):
        """Return the maps of windows, which are blended: the scores of one model, or the mean of more."""
        if self.gives_ids:
            return self._ids(images)[..., None]
        if not self.plain:
            return self.probabilities(images)
        runner = self.runner
        if runner.input_size not in (None, images.shape[1:3]):
            return self._inner(runner, images)
        return runner.scores(images)

    def _ids(self, images):
        runner = self.runner
        if runner.input_size in (None, images.shape[1:3]):
            return runner.ids(images)
        windows = Windows(runner.input_size, self.overlap, "nearest")

        def run(part):
            return runner.ids(part)[..., None]

        return np.stack([whole_map(run, image, windows)[..., 0] for image in images])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return the mean probabilities `(B, H, W, classes)` over models and views of checked pictures."""
        total: np.ndarray = np.zeros(())
        for runner in self.runners:
            for view in self.views:
                found = view.back(self._seen(runner, view, images), images.shape[1:3])
                total = found if total.ndim == 0 else total + found
        return total / np.float32(len(self.runners) * len(self.views))

    def _seen(self, runner, view, images):
        """Return the probabilities of a view of pictures, at the size of the view."""
        fixed = runner.input_size
        if fixed is not None and view.scale != 1 and self.window is None:
            images = np.clip(shrink(images, fixed), 0, 255)  # the scale is one of what the model sees
        seen = view.of(images)
        by_windows = self.window is not None or view.scale != 1
        if fixed is None or not by_windows or seen.shape[1:3] == fixed:
            return runner.probabilities(seen)
        return as_probabilities(self._inner(runner, seen), runner.from_logits, runner.multilabel)

    def _inner(self, runner, images):
        """Return the scores of pictures of another size than the model takes, by windows of that size."""
        windows = Windows(runner.input_size, self.overlap, self.blend)
        return np.stack([whole_map(runner.scores, image, windows) for image in images])

    def _refined(self, image, batch_size):
        from kseg.crf import dense_crf  # loads SciPy, which only the CRF needs

        windows = self.windows_for(image.shape[:2], whole=True)
        if windows is None:
            maps = self.probabilities(image[None])[0]
        else:
            maps = self.by_windows(image, ["probabilities"], windows, batch_size)["probabilities"]
        return dense_crf(maps, image, **(self.crf or {}))

    def _given(self, maps, kinds, are_scores):
        """Return what is asked for of maps `(..., K)`: ids, scores of the model, or probabilities."""
        runner, given = self.runner, {}
        if self.gives_ids:
            ids = maps[..., 0]
            return {"classes": ids.astype(ids_type(int(ids.max(initial=0)) + 1))}
        if "classes" in kinds:
            ids = collapse(maps, are_scores and runner.from_logits, runner.multilabel)
            given["classes"] = ids.astype("uint8" if runner.multilabel else ids_type(self.num_classes or 0))
        if set(kinds) == {"classes"}:
            return given
        found = as_probabilities(maps, runner.from_logits, runner.multilabel) if are_scores else maps
        found = found.astype("float32", copy=False)
        if "probabilities" in kinds:
            given["probabilities"] = found
        if "confidence" in kinds:
            given["confidence"] = np.maximum(found, 1 - found) if runner.multilabel else found.max(-1)
        return given
