"""One way to run a model, whatever it is: a Keras model, `.keras`, SavedModel, `.tflite` or `.onnx`."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from kseg import sandbox
from kseg.checks import check_choice, unknown_name
from kseg.data.reading import pixels_of, read_image
from kseg.graphs import ModelFacts
from kseg.runtime import opened, try_out


@dataclass(frozen=True)
class Runner:
    """A model opened for inference.

    Attributes:
        run: function `(B, H, W, C)` float32 0–255 → float32 `(B, h, w, num_classes)`, or ids `(B, h, w)`.
        input_size: `(H, W)` the model is fixed to, or `None` for any.
        channels: int, C.
        output_kind: `"logits"`, `"probabilities"` or `"classes"`, what `run` returns.
        num_classes: int, channels of the scores, or `None` where `run` returns ids.
        scores_only_centre: whether the scores are those of the middle of the picture.
    """

    run: Callable[[np.ndarray], np.ndarray]
    input_size: tuple[int, int] | None
    channels: int
    output_kind: str
    num_classes: int | None
    scores_only_centre: bool = False

    @property
    def from_logits(self) -> bool:
        """Whether `run` gives logits."""
        return self.output_kind == "logits"

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; scores come back at their size, `(B, H, W, classes)`."""
        if self.output_kind == "classes":
            raise ValueError(
                "the file gives class ids alone, no scores: export it with output_kind='logits' for that"
            )
        scores, size = self._run_at_own_size(images), images.shape[1:3]
        return scores if scores.shape[1:3] == size else tf.image.resize(scores, size).numpy()

    def ids(self, images: np.ndarray) -> np.ndarray:
        """Run pictures `(B, H, W, C)`; return class ids `(B, H, W)` at their size."""
        if self.output_kind != "classes":
            return collapse(self.scores(images), self.from_logits)
        ids, size = self._run_at_own_size(images)[..., None], images.shape[1:3]
        return (ids if ids.shape[1:3] == size else tf.image.resize(ids, size, "nearest").numpy())[..., 0]

    def _run_at_own_size(self, images):
        images = np.asarray(images, "float32")
        if self.input_size not in (None, images.shape[1:3]):
            images = tf.image.resize(images, self.input_size, antialias=True).numpy()
        return self.run(images)

    def masks(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return uint8 class ids `(B, H, W)`; `crf` is as for `predict`."""
        self._check_whole()
        if crf_arguments(crf) is None:
            return self.ids(images).astype("uint8")
        return self.probabilities(images, crf).argmax(-1).astype("uint8")

    def probabilities(self, images: np.ndarray, crf: bool | Mapping[str, Any] | None = False) -> np.ndarray:
        """Return float32 probabilities `(B, H, W, classes)`, two of one channel; `crf` as for `predict`."""
        self._check_whole()
        found, arguments = as_probabilities(self.scores(images), self.from_logits), crf_arguments(crf)
        if arguments is None:
            return found
        from kseg.crf import dense_crf  # loads SciPy, which only the CRF needs

        pairs = zip(found, images, strict=True)
        return np.stack([dense_crf(each, image, **arguments) for each, image in pairs])

    def _check_whole(self):
        if self.scores_only_centre:
            raise ValueError(
                "the model scores the middle of its picture alone (padding='valid'): call it yourself, or "
                "build it with padding='same'"
            )


def collapse(scores: np.ndarray, from_logits: bool) -> np.ndarray:
    """Return the class ids of NumPy scores; one channel is class 1 above its threshold."""
    if scores.shape[-1] == 1:
        return (scores[..., 0] > (0 if from_logits else 0.5)).astype("int64")
    return scores.argmax(-1)


def as_probabilities(scores: np.ndarray, from_logits: bool) -> np.ndarray:
    """Return float32 probabilities of NumPy scores, which sum to 1; one channel becomes two classes."""
    if scores.shape[-1] == 1:
        one = tf.sigmoid(scores).numpy() if from_logits else np.clip(scores, 0, 1)
        return np.concatenate([1 - one, one], -1)
    if from_logits:
        return tf.nn.softmax(scores).numpy()
    scores = np.maximum(scores, 1e-7)  # one sigmoid per class, or int8: they need not sum to 1
    return scores / scores.sum(-1, keepdims=True)


def crf_arguments(crf: bool | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the arguments of `dense_crf` for a `crf` as given to `predict`, or `None` for none.

    Raises:
        TypeError: if `crf` is neither a bool nor a dict.
        ValueError: for a name that `dense_crf` does not have.
    """
    if crf is None or isinstance(crf, bool):
        return {} if crf else None
    if not isinstance(crf, dict):
        raise TypeError(f"crf must be True, False or a dict of dense_crf's arguments, got {crf!r}")
    from kseg.crf import dense_crf

    parameters = inspect.signature(dense_crf).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for name in crf:
        if name not in known:
            raise unknown_name("argument in crf", name, known)
    return crf


def open_model(model_or_path: keras.Model | str | os.PathLike) -> Runner:
    """Return the `Runner` of a Keras model or of a file.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: for an `.onnx` file, if ONNX Runtime is missing.
        ValueError: if it is none of `.keras`, SavedModel folder, `.tflite` and `.onnx`, or is damaged.
    """
    if isinstance(model_or_path, keras.Model):
        if getattr(model_or_path, "_kseg_runner", None) is None:
            model_or_path._kseg_runner = _keras_runner(model_or_path)  # traced once, for as long as it lives
        return model_or_path._kseg_runner
    path = Path(model_or_path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file; expected a .keras, .tflite or .onnx file or a SavedModel folder"
        )
    return _open_file(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _open_file(path, _changed):
    """Open a file; a loop over pictures opens it once, a file written anew is opened anew."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ValueError(
                f"{path}: no SavedModel (saved_model.pb is missing); give the folder that was exported"
            )
        return _file_runner(opened(path))
    if path.suffix in (".tflite", ".onnx"):
        check_file(path)
        return _file_runner(opened(path))
    return _keras_runner(load(path))


def load(path: str | os.PathLike) -> keras.Model:
    """Load a `.keras` file that `model.save` or `kseg train` wrote.

    Layers with Python code of their own (`Lambda`) are refused, as Keras does in safe mode.

    Args:
        path: str or `Path`.

    Returns:
        `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no complete `.keras` file; it says what it is.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir() or path.suffix != ".keras":
        raise ValueError(f"{path}: not a .keras file; SavedModel, .tflite and .onnx only predict")
    if not zipfile.is_zipfile(path):
        size = path.stat().st_size
        raise ValueError(f"{path}: {size} bytes, but no complete .keras archive; was a save interrupted?")
    try:
        return keras.models.load_model(path, safe_mode=True)
    except (KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path}: Keras cannot load this model: {reason}") from error


def _keras_runner(model):
    facts = ModelFacts(model)
    facts.check_one_picture()
    function = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return Runner(
        run=lambda images: function(images).numpy(),
        input_size=facts.fixed_size,
        channels=facts.channels,
        output_kind=facts.output_kind,
        num_classes=facts.num_scores,
        scores_only_centre=facts.scores_only_centre,
    )


def _file_runner(file):
    return Runner(file.run, file.input_size, file.channels, file.output_kind, file.num_classes)


def check_file(path: Path) -> None:
    """Make sure that a `.tflite` or `.onnx` file can be run without a crash of this process.

    It is the file that its report beside it, `NAME.json`, describes, or it runs in a child.

    Raises:
        ValueError: if it is damaged.
    """
    report = report_path(path)
    expected = _digest_in(report)
    if expected is not None:
        if hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            return
        raise ValueError(
            f"{path}: is not the file that {report.name} describes: it is damaged, or was replaced; export "
            f"it again, or remove {report.name}"
        )
    try:
        sandbox.call(try_out, str(path))
    except sandbox.ChildDied as error:
        raise ValueError(
            f"{path}: the interpreter died on this file ({error.reason}): it is damaged; export it again"
        ) from None
    except sandbox.JobFailed as error:
        raise ValueError(str(error)) from None


def report_path(path: Path) -> Path:
    """Return where the report of a `.tflite` or `.onnx` file stands: beside it."""
    return path.with_name(f"{path.name}.json")


def _digest_in(report):
    """Return the sha256 a report gives its file, `None` without a report of ours."""
    try:
        return json.loads(report.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def predict(
    model_or_path: keras.Model | str | os.PathLike,
    image: str | os.PathLike | Image.Image | np.ndarray,
    *,
    crf: bool | Mapping[str, Any] | None = False,
    output_kind: Literal["classes", "probabilities"] = "classes",
) -> np.ndarray:
    """Segment one picture.

    A model of fixed size gets the picture resized, and its scores are brought back to the picture's size.

    Args:
        model_or_path: `keras.Model`, or the path of a `.keras`, `.tflite`, `.onnx` file or SavedModel folder.
        image: path of a picture, or `(H, W, C)` array, values 0–255.
        crf: whether `kseg.dense_crf` refines the probabilities by the picture's edges; a dict gives its
            arguments, for instance `kseg.tune_crf(...).parameters`.
        output_kind: `"classes"`, or `"probabilities"`, which a file that gives ids cannot tell.

    Returns:
        uint8 class ids `(H, W)`, at the picture's size; or float32 probabilities `(H, W, classes)`, which sum
        to 1; of a model with one channel those of both classes.

    Raises:
        FileNotFoundError: if a file is missing.
        TypeError: if `crf` is neither a bool nor a dict.
        ValueError: if a file is damaged or the picture has another number of channels than the model; for
            arguments in `crf` and an `output_kind` that do not fit.

    Example:
        >>> import kseg
        >>> model = kseg.build_conv_stack(3, depth=1, filters=4)
        >>> predict(model, np.zeros((24, 32, 3), "uint8")).shape
        (24, 32)
    """
    check_choice("output_kind", output_kind, ("classes", "probabilities"))
    runner = open_model(model_or_path)
    give = runner.masks if output_kind == "classes" else runner.probabilities
    return give(as_picture(image, runner.channels)[None], crf)[0]


def as_picture(image: Any, channels: int) -> np.ndarray:
    """Return `(H, W, channels)` of a path, a Pillow image or an array."""
    if isinstance(image, str | os.PathLike):
        return read_image(image, channels)
    if isinstance(image, Image.Image):
        image = pixels_of(image, channels)
    pixels = np.asarray(image)
    if pixels.ndim == 2 and channels == 1:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] != channels or 0 in pixels.shape:
        raise ValueError(f"image must be (H, W, {channels}), got {pixels.shape}")
    if not np.issubdtype(pixels.dtype, np.number) or not np.all(np.isfinite(pixels)):
        raise ValueError(f"image must hold finite numbers 0–255, got dtype {pixels.dtype} or NaN")
    return pixels
