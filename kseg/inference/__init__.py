"""One way to run a model, whatever it is: a Keras model, `.keras`, SavedModel, `.tflite` or `.onnx`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import keras
import numpy as np
from PIL import Image

from kseg.checks import check_choice
from kseg.data.file_errors import DepthError
from kseg.data.reading import pixels_of, read_image
from kseg.inference.files import check_file, digest_in, facts_of, load, open_model, report_path
from kseg.inference.resizing import Resize
from kseg.inference.runner import Runner, as_probabilities, collapse, crf_arguments, ids_type
from kseg.types import InputRange, StatedActivation
from kseg.value_range import ValueRange

__all__ = [
    "Runner",
    "as_picture",
    "as_probabilities",
    "check_file",
    "collapse",
    "crf_arguments",
    "digest_in",
    "facts_of",
    "ids_type",
    "load",
    "open_model",
    "predict",
    "range_asked_of",
    "report_path",
]


def predict(
    model_or_path: keras.Model | str | os.PathLike,
    image: str | os.PathLike | Image.Image | np.ndarray,
    *,
    crf: bool | Mapping[str, Any] | None = False,
    output_kind: Literal["classes", "probabilities"] = "classes",
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
) -> np.ndarray:
    """Segment one picture.

    A model of fixed size gets the picture resized, and its scores are brought back to the picture's size.

    Args:
        model_or_path: `keras.Model`, or the path of a `.keras`, `.tflite`, `.onnx` file or SavedModel folder.
        image: path of a picture, or `(H, W, C)` array, values 0–255. A model that keeps a range of its files
            (`kseg.with_value_range`, `kseg train`) has them read by it.
        crf: whether `kseg.dense_crf` refines the probabilities by the picture's edges; a dict gives its
            arguments, for instance `kseg.tune_crf(...).parameters`.
        output_kind: `"classes"`, or `"probabilities"`, which a file that gives ids cannot tell.
        activation: `"linear"` (logits), `"softmax"` or `"sigmoid"`, what a model ends in whose graph does not
            tell. `None` reads it there, else from its values for a few pictures if they can be nothing else.
        input_range: `(low, high)`, what a model of others takes for pixel values 0 and 255, for instance
            `(0, 1)`. Pictures may then also be floats on that scale. `None`: 0–255, or what the file tells.
        multilabel: whether a pixel may have several labels, each of the channels one sigmoid; `None` asks the
            loss that the model was compiled with, or the file.
        resize: how a picture is brought to the size of a model that takes no other, and its scores back.
            `"antialias"` takes the mean over all pixels that one of the model covers, so that thin things
            stay. `"bilinear"` does what MediaPipe does on the device, and gives its masks.

    Returns:
        Class ids `(H, W)` at the picture's size, uint8, or uint16 above 256 classes; or float32 probabilities
        `(H, W, classes)`, which sum to 1; of a model with one channel those of both classes. With several
        labels 0 or 1, uint8 `(H, W, labels)`; or the probability of each.

    Raises:
        FileNotFoundError: if a file is missing.
        TypeError: if `crf` is neither a bool nor a dict.
        ValueError: if a file is damaged or the picture has another number of channels than the model, or
            values that are not 0–255; if scores are not finite; for arguments that do not fit, or that are
            missing for a model that does not tell.

    Example:
        >>> import kseg
        >>> model = kseg.build_conv_stack(3, depth=1, filters=4)
        >>> predict(model, np.zeros((24, 32, 3), "uint8")).shape
        (24, 32)
    """
    check_choice("output_kind", output_kind, ("classes", "probabilities"))
    runner = open_model(
        model_or_path,
        activation=activation,
        input_range=input_range,
        multilabel=multilabel,
        resize=resize,
    )
    give = runner.masks if output_kind == "classes" else runner.probabilities
    with range_asked_of(runner):
        picture = as_picture(image, runner.channels, runner.value_range)
    return give(picture[None], crf)[0]


@contextlib.contextmanager
def range_asked_of(runner: Runner) -> Iterator[None]:
    """Raise that a file is too deep with the mend for a model: where data are read there is another one."""
    try:
        yield
    except DepthError as error:
        raise ValueError(
            f"{error.seen}, and {runner.name} keeps no range of its picture files; train it with one (kseg "
            f"train --value-range), or say it once: kseg.with_value_range(model, {error.ends})"
        ) from None


def as_picture(image: Any, channels: int, value_range: ValueRange | None = None) -> np.ndarray:
    """Return `(H, W, channels)` of a path, a Pillow image or an array.

    Files, opened or not, are read by `value_range`; arrays hold values 0–255.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, channels, value_range)
    if isinstance(image, Image.Image):
        image = pixels_of(image, channels, value_range=value_range)
    pixels = np.asarray(image)
    if pixels.ndim == 2 and channels == 1:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] != channels or 0 in pixels.shape:
        raise ValueError(f"image must be (H, W, {channels}), got {pixels.shape}")
    return pixels
