"""One way to run a model, whatever it is: a Keras model, `.keras`, SavedModel, `.tflite` or `.onnx`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np
from PIL import Image

from kseg.checks import check_choice
from kseg.data.reading import pixels_of, read_image
from kseg.inference.files import check_file, load, open_model, report_path
from kseg.inference.runner import Runner, as_probabilities, collapse, crf_arguments

__all__ = [
    "Runner",
    "as_picture",
    "as_probabilities",
    "check_file",
    "collapse",
    "crf_arguments",
    "load",
    "open_model",
    "predict",
    "report_path",
]


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
