"""Pretrained weights: from Keras or a file, with the normalisation they expect, for any number of channels.

Where the picture has not 3 channels, the first convolution of weights for RGB is adapted so that a picture
with the same values in all channels gives the features it gave as RGB:

- 1 or 2 channels: each gets the sum of the kernel over R, G, B, shared evenly. The statistics are the means
  of those of R, G, B, so "the same" holds for a grey in ImageNet's mean tint.
- 4 or more: channel i gets the kernel and the statistics of colour i mod 3, the kernel divided by the number
  of channels that colour serves (for 6, 9, ... that is the kernel tiled and scaled by 3/C).
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from kseg.checks import unknown_name
from kseg.types import PathLike

# ImageNet statistics of the RGB channels, 0–255 (torchvision's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225).
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
# Caffe's means, RGB order (keras.applications resnet and vgg were trained with them, BGR and unscaled).
CAFFE_MEAN = (123.68, 116.779, 103.939)

# What weights expect: (mean, divisor) of R, G, B.
_EXPECTED = {
    "caffe": (CAFFE_MEAN, (1.0, 1.0, 1.0)),
    "centred": ((128.0,) * 3, (128.0,) * 3),
    "standardized": (_MEAN, _STD),
    "unit": ((127.5,) * 3, (127.5,) * 3),
}


def normalization_for(expects: str, channels: int) -> keras.Layer:
    """Return the layer from values 0–255 to what the weights expect."""
    mean, divisor = (np.asarray(values) for values in _EXPECTED[expects])
    if channels < 3:
        mean, divisor = mean.mean(keepdims=True), divisor.mean(keepdims=True)
    mean, divisor = np.resize(mean, channels), np.resize(divisor, channels)  # colour i mod 3
    scale, offset = (1 / divisor).tolist(), (-mean / divisor).tolist()
    if len(set(scale)) == len(set(offset)) == 1:
        scale, offset = scale[0], offset[0]
    return keras.layers.Rescaling(scale, offset=offset, name="normalization")


def adapt_stem(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return a kernel `(h, w, channels, filters)` from one for RGB, by the rule of this module."""
    if channels < 3:
        return np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)
    colour = np.arange(channels) % 3
    return kernel[:, :, colour] / np.bincount(colour)[colour][None, None, :, None]


def transfer(source: keras.Model, target: keras.Model) -> None:
    """Give `target` the weights of `source`, the same network for 3 channels."""
    channels = target.inputs[0].shape[-1]
    for old, new in zip(_weights(source), _weights(target), strict=True):
        value = np.asarray(old)
        new.assign(value if old.shape == new.shape else adapt_stem(value, channels))


def _weights(model):
    """Weights without those of a `Normalization`: ours stands before the model."""
    return [
        w
        for layer in model.layers
        if not isinstance(layer, keras.layers.Normalization)
        for w in layer.weights
    ]


def swap_red_and_blue(model: keras.Model) -> None:
    """Reverse the input channels of the first convolution: BGR weights then take RGB at no cost."""
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    stem.kernel.assign(np.asarray(stem.kernel)[:, :, ::-1, :])


def load_imagenet(make: Callable[..., keras.Model], name: str) -> keras.Model:
    """Return `make(3, "imagenet")`, downloaded and checked by Keras."""
    try:
        return make(3, "imagenet")
    except Exception as error:  # Keras' downloader raises the bare class
        raise OSError(
            f"backbone_weights='imagenet' of {name!r} could not be loaded: {error}. Without network, put the "
            f"file that this names into ~/.keras/models, or give the path of a .weights.h5 file"
        ) from error


def load_file(make: Callable[..., keras.Model], channels: int, path: PathLike) -> keras.Model:
    """Return `make(channels)` with the weights of a file, which may be for 3 channels."""
    if not Path(path).is_file():
        if Path(path).suffix:
            raise ValueError(f"backbone_weights={str(path)!r}: there is no such file")
        raise unknown_name("backbone_weights", path, ("imagenet", "path/of/a/file.weights.h5"))
    model = make(channels, None)
    error = _load(model, path)
    if error is not None and channels != 3:
        colour = make(3, None)
        if _load(colour, path) is None:
            transfer(colour, model)
            return model
    if error is not None:
        raise ValueError(
            f"backbone_weights={str(path)!r} cannot be loaded into {model.name!r}: "
            f"{str(error).splitlines()[0]}. "
            f"Give None, 'imagenet' or a .weights.h5 file saved from this backbone"
        ) from error
    return model


def _load(model, path):
    """Load a file; return what speaks against it, `None` if nothing does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras skips what does not fit with a mere warning
            model.load_weights(path)
    except (KeyError, OSError, ValueError, UserWarning) as error:
        return error
    return None
