"""The ResNets of the segmentation papers: bias-free, the stride at the 3×3, dilated where asked.

Keras' own ResNets have biases, the stride at the first 1×1, and no dilation; ported weights do not fit them.
"""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import layers

from kseg import blocks
from kseg.checks import check_choice, is_count
from kseg.encoders.weights import normalization_for
from kseg.types import Features

_UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_STRIDES = (8, 16, 32)


def resnet(
    image: keras.KerasTensor, depth: int = 50, *, output_stride: int = 32, **arguments: Any
) -> Features:
    """Return the features of a ResNet by stride; the arguments are those of `resnet_stages`.

    Returns:
        dict `{stride: (B, ceil(H/stride), ceil(W/stride), c)}`, strides 2 to `output_stride` ascending; at
        each the deepest features of that size.
    """
    stages = resnet_stages(image, depth, output_stride=output_stride, **arguments)
    return {min(stride, output_stride): tensor for stride, tensor in stages.items()}


def resnet_stages(
    image: keras.KerasTensor,
    depth: int = 50,
    *,
    output_stride: int = 32,
    multi_grid: Sequence[int] = (1, 1, 1),
    stem: Literal["7x7", "deep"] = "7x7",
    filters: int = 64,
) -> Features:
    """Run pixel values through a ResNet and return the output of each of its five stages.

    Reference: He et al. 2016, table 1, as torchvision builds it: the stride stands at the 3×3, padding is
    symmetric (Keras' SAME pads even sizes at the bottom and right alone), so sizes halve rounding up.
    Dilation: Chen et al. 2017 (DeepLab v3), section 3. Beyond `output_stride` a stage trades its stride for
    twice the dilation, and all its units take it, the first one too, as in PSPNet; torchvision leaves the
    first unit at the dilation before.

    Args:
        image: symbolic `(B, H, W, C)`, values 0–255; RGB is normalised by ImageNet's mean and deviation.
        depth: 50 or 101.
        output_stride: 8, 16 or 32.
        multi_grid: three ints that multiply the dilation of the units of stage 5.
        stem: `"7x7"`, one convolution; or `"deep"`, PSPNet's three 3×3, twice as wide at the end.
        filters: width of the first stage; all others follow.

    Returns:
        dict by the stride that the stage has in the undilated network, as `encoders.stages`: 2 is the stem,
        16 and 32 are stages 4 and 5 whatever `output_stride`.

    Raises:
        ValueError: for an argument out of range.
    """
    check_choice("depth", depth, tuple(_UNITS))
    check_choice("output_stride", output_stride, _STRIDES)
    check_choice("stem", stem, ("7x7", "deep"))
    _check_multi_grid(multi_grid, output_stride)
    blocks.check_filters(filters)
    x = _stem(normalization_for("standardized", image.shape[-1])(image), stem, filters)
    stages, dilation = {2: x}, 1
    x = layers.ZeroPadding2D(1, name="encoder_pool_pad")(x)  # after a ReLU zeros never win
    x = layers.MaxPooling2D(3, strides=2, name="encoder_pool")(x)  # (B, H/4, W/4, 64)
    for number, units in enumerate(_UNITS[depth], start=2):
        strides = 1 if number == 2 or 2**number > output_stride else 2
        dilation *= 2 if 2**number > output_stride else 1
        for unit in range(units):
            x = _bottleneck(
                x,
                filters * 2 ** (number - 2),
                strides=strides if unit == 0 else 1,
                dilation_rate=dilation * (multi_grid[unit] if number == 5 else 1),
                name=f"encoder_stage{number}_unit{unit + 1}",
            )
        stages[2**number] = x
    return stages


def _check_multi_grid(multi_grid, output_stride):
    rates = multi_grid if isinstance(multi_grid, (tuple, list)) else ()
    if len(rates) != 3 or not all(map(is_count, rates)):
        raise ValueError(f"multi_grid needs three positive ints, one per unit of stage 5, got {multi_grid!r}")
    if output_stride == 32 and rates[0] != 1:
        raise ValueError(
            f"multi_grid must start with 1 at output_stride=32, where the first unit has a stride, "
            f"got {multi_grid!r}"
        )


def conv_norm(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    strides: int = 1,
    dilation_rate: int = 1,
    relu: bool = True,
    name: str,
) -> keras.KerasTensor:
    """Bias-free convolution with symmetric padding, batch normalisation, and a ReLU unless told not to."""
    if strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        dilation_rate=dilation_rate,
        use_bias=False,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = blocks.normalize(x, "batch", name)
    return layers.Activation("relu", name=f"{name}_relu")(x) if relu else x


def _stem(x, stem, filters):
    """`(B, H, W, c)` → `(B, H/2, W/2, filters)`, twice as wide from the deep stem."""
    if stem == "7x7":
        return conv_norm(x, filters, 7, strides=2, name="encoder_stem")
    x = conv_norm(x, filters, 3, strides=2, name="encoder_stem_conv1")
    x = conv_norm(x, filters, 3, name="encoder_stem_conv2")
    return conv_norm(x, 2 * filters, 3, name="encoder_stem_conv3")


def _bottleneck(x, filters, *, strides, dilation_rate, name):
    """1×1 to `filters`, 3×3, 1×1 to four times `filters`, plus the input or, where it differs, its 1×1."""
    shortcut = x
    if strides > 1 or x.shape[-1] != 4 * filters:
        shortcut = conv_norm(x, 4 * filters, 1, strides=strides, relu=False, name=f"{name}_shortcut")
    x = conv_norm(x, filters, 1, name=f"{name}_conv1")
    x = conv_norm(x, filters, 3, strides=strides, dilation_rate=dilation_rate, name=f"{name}_conv2")
    x = conv_norm(x, 4 * filters, 1, relu=False, name=f"{name}_conv3")
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_relu")(x)
