"""VGG16 as the papers of 2014 to 2017 changed it: its encoder, atrous or not, and its fc6 and fc7."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kseg import blocks
from kseg.checks import is_count
from kseg.encoders.weights import CAFFE_MEAN, adapt_stem
from kseg.types import Normalization, PathLike

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # 3×3, in each of the five blocks
_SCALE = (
    1 / 127.5
)  # untrained weights learn from inputs near 1; pretrained ones take it into their first layer


def vgg_widths(filters: int | Sequence[int], head: int = 64) -> tuple[int, ...]:
    """Return the widths of the five blocks and of fc6/fc7, `head` times the first.

    `filters` is the first (64 → 128, 256, 512, 512, 4096) or all six.
    """
    if is_count(filters):
        filters = tuple(filters * factor for factor in (1, 2, 4, 8, 8, head))
    widths = tuple(filters) if isinstance(filters, (tuple, list)) else ()
    if len(widths) != 6 or not all(map(is_count, widths)):
        raise ValueError(
            f"filters must be a positive int or six of them (five blocks, fc6/fc7), got {filters!r}"
        )
    return widths


def vgg16(
    image: keras.KerasTensor,
    *,
    filters: int | Sequence[int] = 64,
    normalization: Normalization = None,
    dilation_rates: Sequence[int] = (1, 1, 1, 1, 1),
    use_bias: bool = True,
    pool: Callable[[keras.KerasTensor, int], keras.KerasTensor] | None = None,
) -> list[keras.KerasTensor]:
    """Return what leaves each of VGG16's five blocks, pooled: `(B, H/2, W/2, 64)` to `(B, H/32, W/32, 512)`.

    The 13 convolutions are SAME; `encoder_block1_conv1` is the first.

    Args:
        image: `(B, H, W, C)` of `normalize_image`, padded as the pools need it.
        filters: int or six, see `vgg_widths`; the sixth is not used here.
        normalization: `"batch"`, `"group"` or `None` (the paper), before each ReLU.
        dilation_rates: one int per block.
        use_bias: whether the convolutions have one.
        pool: function of a tensor and the block's number, 1 to 5; `None` is 2×2 max pooling, SAME.

    Returns:
        list of five tensors.
    """
    pooled, x = [], image
    for block, count in enumerate(_CONVOLUTIONS, start=1):
        width, rate = vgg_widths(filters)[block - 1], dilation_rates[block - 1]
        for number in range(1, count + 1):
            name = f"encoder_block{block}_conv{number}"
            common: dict[str, Any] = {"normalization": normalization, "use_bias": use_bias, "name": name}
            x = conv_relu(x, width, dilation_rate=rate, **common)
        x = (pool or max_pool)(x, block)
        pooled.append(x)
    return pooled


def atrous_vgg16(image: keras.KerasTensor, *, filters: int | Sequence[int] = 64) -> keras.KerasTensor:
    """Return VGG16's features after pool5 at stride 8, `(B, H/8, W/8, 512)`, as DeepLab v1 and v2 use them.

    All pools are 3×3; the last two keep the size, and block 5 is dilated by 2 in return.

    Args:
        image: `(B, H, W, C)` of `normalize_image`, H and W padded to multiples of 8.
        filters: int or six, see `vgg_widths`.

    A 3×3 pool of stride 2 has no centre of its own on an even map: padded always behind, as SAME does, the
    features would lie 3.5 pixels off the squares of 8 pixels they are resized to, padded always before, as
    in the reference, 3.5 to the other side. Padded behind, behind and before they lie half a pixel off.
    """

    def pool(x, block):
        stride = 2 if block <= 3 else 1
        if block == 3:
            return max_pool_before(x, name=f"encoder_pool{block}")
        return layers.MaxPooling2D(3, stride, padding="same", name=f"encoder_pool{block}")(x)

    return vgg16(image, filters=filters, dilation_rates=(1, 1, 1, 1, 2), pool=pool)[-1]


def fully_connected(
    x: keras.KerasTensor,
    filters: int,
    *,
    kernel_size: int = 7,
    dilation_rate: int = 1,
    dropout: float = 0.5,
    name: str = "head",
) -> keras.KerasTensor:
    """VGG16's fc6 and fc7 as convolutions: `(B, h, w, 512)` → `(B, h, w, filters)`, dropout after each."""
    for number, size, rate in ((6, kernel_size, dilation_rate), (7, 1, 1)):
        x = conv_relu(x, filters, kernel_size=size, dilation_rate=rate, name=f"{name}_fc{number}")
        x = blocks.drop(x, dropout, name=f"{name}_fc{number}_dropout")
    return x


def conv_relu(
    x: keras.KerasTensor,
    filters: int,
    *,
    kernel_size: int = 3,
    strides: int = 1,
    dilation_rate: int = 1,
    groups: int = 1,
    normalization: Normalization = None,
    use_bias: bool = True,
    name: str,
) -> keras.KerasTensor:
    """SAME convolution, normalisation, ReLU; these papers keep the bias under a normalisation."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        dilation_rate=dilation_rate,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = blocks.normalize(x, normalization, name)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def max_pool(x: keras.KerasTensor, block: int) -> keras.KerasTensor:
    """2×2 max pooling; an odd side is rounded up, as Caffe does."""
    return layers.MaxPooling2D(2, padding="same", name=f"encoder_pool{block}")(x)


def max_pool_before(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """3×3 max pooling of stride 2, padded at the top and the left: `(B, H, W, c)` → `(B, H/2, W/2, c)`.

    `x` comes from a ReLU and has even sides: a zero never wins.
    """
    x = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}_pad")(x)
    return layers.MaxPooling2D(3, 2, name=name)(x)


def normalize_image(image: keras.KerasTensor) -> keras.KerasTensor:
    """Map 0–255 to about −1…1, 0 at Caffe's ImageNet mean; other than RGB as `kseg.encoders.weights`."""
    channels = image.shape[-1]
    mean = np.resize(CAFFE_MEAN if channels > 2 else np.mean(CAFFE_MEAN), channels)
    return layers.Rescaling(_SCALE, offset=(-mean * _SCALE).tolist(), name="normalization")(image)


def load_vgg16(model: keras.Model, weights: PathLike | None) -> None:
    """Copy VGG16's convolutions from keras.applications into the layers of `model` named alike.

    Their first kernel expects BGR less Caffe's mean, unscaled: it is reversed and scaled to what
    `normalize_image` gives; for other than three channels see `kseg.encoders.weights.adapt_stem`.

    Args:
        model: `keras.Model` with layers `encoder_block1_conv1`, ...
        weights: `None` (nothing is copied), `"imagenet"` (downloaded by Keras and checked against its hash),
            or the path of a `.weights.h5` file saved from `keras.applications.VGG16(include_top=False)`.

    Raises:
        OSError: if the download fails.
        ValueError: if the file or the widths do not fit.
    """
    if weights is None:
        return
    for layer in _vgg16_of_keras(weights).layers:
        if not isinstance(layer, layers.Conv2D):
            continue
        kernel, bias = (np.asarray(weight) for weight in layer.weights)
        target = model.get_layer(f"encoder_{layer.name}")
        if layer.name == "block1_conv1":
            kernel = adapt_stem(kernel[:, :, ::-1], target.kernel.shape[2]) / _SCALE
        if target.kernel.shape != kernel.shape:
            raise ValueError(
                f"backbone_weights={str(weights)!r} needs the widths of VGG16, filters=64: {target.name} has "
                f"a kernel {tuple(target.kernel.shape)}, the weights {kernel.shape}"
            )
        target.set_weights([kernel, bias])


def _vgg16_of_keras(weights):
    if weights == "imagenet":
        try:
            return keras.applications.VGG16(include_top=False, weights="imagenet")
        except Exception as error:  # Keras' downloader raises the bare class
            raise OSError(
                f"backbone_weights='imagenet' of VGG16 could not be loaded: {error}; give a path instead"
            ) from error
    model = keras.applications.VGG16(include_top=False, weights=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras skips what does not fit with a mere warning
            model.load_weights(weights)
    except (OSError, ValueError, UserWarning) as error:
        raise ValueError(
            f"backbone_weights={str(weights)!r} cannot be loaded into VGG16: {str(error).splitlines()[0]}. "
            f"Give None, 'imagenet' or a .weights.h5 file of keras.applications.VGG16(include_top=False)"
        ) from error
    return model
