"""A model opened for inference, and what becomes of its scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kseg.graphs import judged_kind
from kseg.inference.resizing import Resize, enlarge, enlarge_rows, shrink
from kseg.inference.scores import as_probabilities, collapse, crf_arguments, ids_type
from kseg.pictures import PIXEL_RANGE, in_pixel_range, probes, scaled
from kseg.types import InputRange
from kseg.value_range import ValueRange

_LARGEST_MAP = 2**27  # bytes of scores that are enlarged at once


@dataclass(frozen=True)
class Runner:
    """A model opened for inference.

    Attributes:
        run: function `(B, H, W, C)` float32 → float32 `(B, h, w, num_classes)`, or ids `(B, h, w)`.
        input_size: `(H, W)` the model is fixed to, or `None` for any.
        channels: int, C.
        output_kind: `"logits"`, `"probabilities"` or `"classes"`, what `run` returns; `None` where nothing
            tells.
        num_classes: int, channels of the scores, or `None` where `run` returns ids.
        scores_only_centre: whether the scores are those of the middle of the picture.
        input_range: `(low, high)`, what `run` takes for pixel values 0 and 255, or `None` for these.
        multilabel: whether a pixel may have several labels, one sigmoid each.
        activation: `"softmax"`, `"sigmoid"` or `"linear"` where it is known, else `None`.
        asks_range: whether nothing tells `input_range`, so that it must be stated.
        resize: as for `kseg.predict`.
        value_range: what the files of its pictures hold for black and white, `None` for 0–255 in 8 bits.
        name: str, of the model or the file, for errors.
        pixels_checked: whether its pictures are known to hold 0–255: a part of a picture cannot be judged.
    """

    run: Callable[[np.ndarray], np.ndarray]
    input_size: tuple[int, int] | None
    channels: int
    output_kind: str | None
    num_classes: int | None
    scores_only_centre: bool = False
    input_range: tuple[float, float] | None = None
    multilabel: bool = False
    activation: str | None = None
    asks_range: bool = False
    resize: Resize = "antialias"
    value_range: ValueRange | None = None
    name: str = "the model"
    pixels_checked: bool = False

    def __str__(self) -> str:
        size = "any size" if self.input_size is None else "{} x {} pixels".format(*self.input_size)
        taken = (
            "not told, input_range= says it"
            if self.asks_range
            else "{:g} to {:g}".format(*(self.input_range or PIXEL_RANGE))
        )
        if self.value_range is not None:
            taken += f"; files hold {self.value_range} for black and white"
        given = self.output_kind or "logits or probabilities, which is not told, activation= says it"
        given += "" if self.num_classes is None else f", {self.num_classes} channels"
        given += f" ({self.activation})" if self.activation in ("softmax", "sigmoid") else ""
        given += ", several labels per pixel" if self.multilabel else ""
        return "\n".join(
            [
                f"{self.name}",
                f"  takes: pictures of {self.channels} channels, {size}",
                f"  values: {taken}",
                f"  gives: {given}",
            ]
        )

    @property
    def from_logits(self) -> bool:
        """Whether `run` gives logits."""
        return self.output_kind == "logits"

    def stating(
        self,
        activation: str | None = None,
        input_range: InputRange = None,
        multilabel: bool = False,
        resize: Resize = "antialias",
    ) -> Runner:
        """Return a runner that knows what the user states.

        Raises:
            ValueError: if that contradicts the model, or if `input_range` is missing where nothing tells it.
        """
        told = self.input_range
        if told is not None and input_range is not None and not np.allclose(told, input_range):
            raise ValueError(
                f"{self.name}: tells itself that it takes {told[0]:g} for black and {told[1]:g} for white; "
                "leave input_range= out"
            )
        if self.asks_range and input_range is None:
            raise ValueError(
                f"{self.name}: nothing tells which values its pictures have; say what it takes for black and "
                "white by input_range=, for instance input_range=(0, 1)"
            )
        kind = self.output_kind
        if activation is not None:
            kind = "logits" if activation == "linear" else "probabilities"
            if (self.activation or activation) != activation or self.output_kind not in (None, kind):
                raise ValueError(
                    f"activation={activation!r}, but {self.name} gives "
                    f"{self.activation or self.output_kind}; leave activation= out"
                )
        known = activation or self.activation
        if multilabel and (known == "softmax" or kind == "classes"):
            raise ValueError(
                f"multilabel=True takes one sigmoid per label, but {self.name} gives "
                f"{'class ids' if kind == 'classes' else 'a softmax'}; leave multilabel= out"
            )
        stated = dataclasses.replace(
            self,
            output_kind=kind,
            activation=known,
            input_range=input_range or self.input_range,
            multilabel=multilabel,
            resize=resize,
        )
        return self if stated == self else stated

    def settled(self, *, scores: bool = False) -> Runner:
        """Return a runner that knows what its scores are, if they must be read: by values for a few pictures.

        Args:
            scores: whether they will be read as such; else only one channel, and labels, need a threshold.

        Raises:
            ValueError: if the values can be both.
        """
        if self.output_kind is not None or not (scores or self.num_classes == 1 or self.multilabel):
            return self
        found = [self.run(scaled(each, self.input_range)) for each in probes(self.input_size, self.channels)]
        judged_kind(self.name, found, self.multilabel)
        return dataclasses.replace(self, output_kind="probabilities")

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; scores come back at their size, `(B, H, W, classes)`."""
        if self.output_kind == "classes":
            raise ValueError(f"{self.name}: gives class ids alone, no scores and no probabilities")
        scores, size = self.finite_scores(images), images.shape[1:3]
        return scores if scores.shape[1:3] == size else enlarge(scores, size, self.resize)

    def ids(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; return class ids `(B, H, W)` at their size, or 0/1 `(B, H, W, C)`."""
        if self.output_kind != "classes":
            runner, size = self.settled(), images.shape[1:3]
            if self.resize == "antialias" and self.input_size is not None and self._is_large(size):
                return runner.ids_in_parts(runner.finite_scores(images), size)
            return collapse(runner.scores(images), runner.from_logits, self.multilabel)
        ids, size = self._run_at_own_size(images), images.shape[1:3]
        ids = ids[..., None] if ids.ndim == 3 else ids
        return (ids if ids.shape[1:3] == size else tf.image.resize(ids, size, "nearest").numpy())[..., 0]

    def _is_large(self, size):
        return 4 * (self.num_classes or 1) * size[0] * size[1] > _LARGEST_MAP

    def ids_in_parts(self, scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the ids of scores at a size `(H, W)`, which they do not have at once in memory."""
        step = max(1, _LARGEST_MAP // (4 * scores.shape[-1] * size[1]))
        rows = [slice(top, min(top + step, size[0])) for top in range(0, size[0], step)]
        parts = (enlarge_rows(scores, size, each) for each in rows)
        ids = [collapse(part, self.from_logits, self.multilabel).astype("int32") for part in parts]
        return np.concatenate(ids, 1)

    def _run_at_own_size(self, images):
        images = images if self.pixels_checked else in_pixel_range(images, self.input_range)
        if self.input_size not in (None, images.shape[1:3]):
            images = shrink(images, self.input_size, self.resize)
        return self.run(scaled(images, self.input_range))

    def finite_scores(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; scores come at the size of the model, and are finite or an error."""
        scores = self._run_at_own_size(images)
        if not np.isfinite(scores.sum()) and not np.isfinite(scores).all():  # the sum costs a third
            raise ValueError(
                f"{self.name}: gives scores that are not finite (NaN or infinite); did its training diverge? "
                "Take an earlier checkpoint"
            )
        return scores

    def masks(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return class ids `(B, H, W)` in the smallest unsigned type that holds them; `crf` as for `predict`.

        With several labels per pixel, 0 or 1 in uint8 `(B, H, W, labels)`.
        """
        self.check_whole()
        refined = crf_arguments(crf) is not None
        ids = self.probabilities(images, crf).argmax(-1) if refined else self.ids(images)
        if self.multilabel:
            return ids.astype("uint8")
        return ids.astype(ids_type(self.num_classes or int(ids.max(initial=0)) + 1))

    def probabilities(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return float32 probabilities `(B, H, W, classes)`, two of one channel; `crf` as for `predict`."""
        self.check_whole()
        runner, arguments = self.settled(scores=True), crf_arguments(crf)
        if arguments is not None and self.multilabel:
            raise ValueError(
                "the dense CRF takes one class per pixel, but the model gives several labels; leave crf out"
            )
        if self.resize == "bilinear":  # MediaPipe's confidence masks are probabilities that are enlarged
            scores = as_probabilities(runner.finite_scores(images), runner.from_logits, self.multilabel)
            found = scores if scores.shape[1:3] == images.shape[1:3] else enlarge(scores, images.shape[1:3])
        else:
            found = as_probabilities(runner.scores(images), runner.from_logits, self.multilabel)
        found = found.astype("float32", copy=False)
        if arguments is None:
            return found
        from kseg.crf import dense_crf  # loads SciPy, which only the CRF needs

        pairs = zip(found, in_pixel_range(images, self.input_range), strict=True)
        return np.stack([dense_crf(each, image, **arguments) for each, image in pairs])

    def check_whole(self) -> None:
        """Raise where the scores are those of the middle of the picture alone."""
        if self.scores_only_centre:
            raise ValueError(
                "the model scores the middle of its picture alone (padding='valid'): call it yourself, or "
                "build it with padding='same'"
            )
