"""One way to run a model, whatever it is: a Keras model, `.keras`, SavedModel, `.tflite` or `.onnx`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias, overload

import keras
import numpy as np
from PIL import Image

from kseg.checks import check_choice, is_count
from kseg.inference.files import check_file, digest_in, facts_of, load, open_model, report_path
from kseg.inference.inputs import as_picture, holds_several, opened_picture, pictures_of, range_asked_of
from kseg.inference.opening import open_predictor
from kseg.inference.predictor import OUTPUT_KINDS, Predictor
from kseg.inference.resizing import Resize
from kseg.inference.runner import Runner
from kseg.inference.scores import as_probabilities, collapse, crf_arguments, ids_type
from kseg.inference.views import TestTimeAugmentation
from kseg.inference.windows import Blend
from kseg.types import InputRange, Size, StatedActivation

__all__ = [
    "Predictor",
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
    "open_predictor",
    "predict",
    "range_asked_of",
    "report_path",
]

Model: TypeAlias = keras.Model | str | os.PathLike
OutputKind = Literal["classes", "probabilities", "confidence"]


@overload
def predict(
    model_or_path: Model | list[Model],
    images: np.ndarray | Image.Image,
    *,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | Mapping[str, Any] | None = False,
    output_kind: OutputKind = "classes",
    batch_size: int | None = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
) -> np.ndarray: ...


@overload
def predict(
    model_or_path: Model | list[Model],
    images: str | os.PathLike | Iterable[Any] | None = None,
    *,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | Mapping[str, Any] | None = False,
    output_kind: OutputKind = "classes",
    batch_size: int | None = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    image: Any = None,
) -> Any: ...


def predict(
    model_or_path: Model | list[Model],
    images: Any = None,
    *,
    window: Literal["auto"] | Size | None = None,
    overlap: float = 0.5,
    blend: Blend = "gaussian",
    tta: TestTimeAugmentation = None,
    crf: bool | Mapping[str, Any] | None = False,
    output_kind: OutputKind = "classes",
    batch_size: int | None = None,
    activation: StatedActivation = None,
    input_range: InputRange = None,
    multilabel: bool | None = None,
    resize: Resize = "antialias",
    image: Any = None,
) -> np.ndarray | Iterator[tuple[str, np.ndarray]]:
    """Segment a picture, a batch, or all pictures of a folder, list or video.

    A model of fixed size gets the picture resized, and its scores are brought back to the picture's size;
    with `window` it runs over the picture as it is. A picture whose scores would take more than 512 MB is run
    by windows by itself where the model takes any size, and a warning says so.

    Args:
        model_or_path: `keras.Model`, or the path of a `.keras`, `.tflite`, `.onnx` file or SavedModel folder;
            or a list of them, whose probabilities are averaged.
        images: array `(H, W, C)` or `(B, H, W, C)`, values 0–255, a Pillow image, or the path of a picture.
            Or several: a list of these, a folder (with all below it), a glob, a `.txt` that lists paths, or a
            video. A model that keeps a range of its files (`kseg.with_value_range`, `kseg train`) has them
            read by it. TIFF and `.npy` files may have any size: only windows of them are read.
        window: `(H, W)` in pixels, or `"auto"`: what a file takes, or what fits into memory. Windows are
            spread evenly. A picture smaller than one is run as it is, or, by a file of fixed size, filled up
            by its mirror image.
        overlap: the share of a window that the next one covers too, in [0, 1).
        blend: what counts where windows overlap: `"gaussian"`, the middle of each most, with a deviation of
            an eighth of its side (Isensee et al. 2021, nnU-Net), or `"mean"`. Weights sum to 1.
            Scores are averaged as the model gives them; with `tta` or several models probabilities are.
        tta: test-time augmentation, of which probabilities are averaged: `"flip"` (also from left to right),
            or a dict of `"flip"` (`True`, `"horizontal"`, `"vertical"`, `"both"`), `"scales"`, for instance
            `(0.75, 1, 1.25)`, and `"rotate"` (`True`, or some of 90, 180, 270), all combined. Of a model of
            fixed size a scale is one of what it sees, run by windows of its size.
        crf: whether `kseg.dense_crf` refines the probabilities by the picture's edges; a dict gives its
            arguments, for instance `kseg.tune_crf(...).parameters`.
        output_kind: `"classes"`; `"probabilities"`, or `"confidence"`, the probability of the predicted
            class: both of which a file that gives ids cannot tell.
        batch_size: pictures of a batch, or windows, that are run at once; `None` chooses.
        activation: `"linear"` (logits), `"softmax"` or `"sigmoid"`, what a model ends in whose graph does not
            tell. `None` reads it there, else from its values for a few pictures if they can be nothing else.
        input_range: `(low, high)`, what a model of others takes for pixel values 0 and 255, for instance
            `(0, 1)`. Pictures may then also be floats on that scale. `None`: 0–255, or what the file tells.
        multilabel: whether a pixel may have several labels, each of the channels one sigmoid; `None` asks the
            loss that the model was compiled with, or the file.
        resize: how a picture is brought to the size of a model that takes no other, and its scores back.
            `"antialias"` takes the mean over all pixels that one of the model covers, so that thin things
            stay. `"bilinear"` does what MediaPipe does on the device, and gives its masks.
        image: an older name of `images`.

    Returns:
        Class ids `(H, W)` at the picture's size, uint8, or uint16 above 256 classes; or float32 probabilities
        `(H, W, classes)`, which sum to 1; of a model with one channel those of both classes; or float32
        confidence `(H, W)`. With several labels 0 or 1, uint8 `(H, W, labels)`, or the probability or
        confidence of each. Of a batch, `(B, ...)`. Of several, an iterator of `(name, result)`: names are
        paths below the folder, paths as listed, `"0"`, `"1"`, ... of arrays, `"clip.mp4#0"`, ... of a video.

    Raises:
        FileNotFoundError: if a file is missing, or a folder holds no picture.
        TypeError: if `crf` is neither a bool nor a dict, or `images` is none of these.
        ValueError: if a file is damaged or the picture has another number of channels than the model, or
            values that are not 0–255; if scores are not finite; for arguments that do not fit, or that are
            missing for a model that does not tell; if models that are averaged do not agree.

    Warns:
        UserWarning: that a picture is too large to be run as a whole.

    Example:
        >>> import kseg
        >>> model = kseg.build_conv_stack(3, depth=1, filters=4)
        >>> predict(model, np.zeros((24, 32, 3), "uint8")).shape
        (24, 32)
        >>> predict(model, np.zeros((24, 32, 3), "uint8"), window=(16, 16), tta="flip").shape
        (24, 32)
    """
    check_choice("output_kind", output_kind, OUTPUT_KINDS)
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(f"batch_size must be None or an int of 1 or more, got {batch_size!r}")
    if (images is None) == (image is None):
        raise TypeError("predict takes a model and images: give images, or image by its older name")
    images = image if images is None else images
    predictor = open_predictor(
        model_or_path,
        window=window,
        overlap=overlap,
        blend=blend,
        tta=tta,
        crf=crf,
        scores=output_kind != "classes",
        activation=activation,
        input_range=input_range,
        multilabel=multilabel,
        resize=resize,
    )
    if holds_several(images):
        return _each(predictor, images, output_kind, batch_size)
    if hasattr(images, "__array__") and not isinstance(images, Image.Image):
        images = np.asarray(images)  # of TensorFlow, PyTorch or JAX
    if isinstance(images, np.ndarray) and images.ndim == 4:
        _check_batch(images, predictor.runner.channels)
        return predictor.results(predictor.checked(images), [output_kind], batch_size)[output_kind]
    picture = opened_picture(images, predictor.runner)
    return predictor.of_picture(picture, [output_kind], batch_size)[output_kind]


def _each(predictor, images, output_kind, batch_size):
    """Yield the name and the result of each picture."""
    for name, picture in pictures_of(images, predictor.runner):
        yield name, predictor.of_picture(picture, [output_kind], batch_size)[output_kind]


def _check_batch(images, channels):
    if images.shape[-1] != channels or 0 in images.shape:
        raise ValueError(f"images must be (B, H, W, {channels}), got {images.shape}")
