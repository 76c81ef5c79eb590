"""MobileNetV2 as DeepLab uses it: without its last convolution, dilated where the stride goes."""

import keras
from keras import layers

from kseg import blocks
from kseg.types import Features

# expansion, width, units, stride of the first unit: table 2 of the paper
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_EPSILON = 1e-3  # of the released weights


def mobilenet_v2(image: keras.KerasTensor, *, output_stride: int = 16, filters: int = 64) -> Features:
    """Run pixel values through MobileNetV2 and return its last features.

    Reference: Sandler et al. 2018, table 2 and section 6.3. Beyond `output_stride` a unit trades its stride
    for twice the dilation of the units after it: at 8 units 7–13 have 2, 14–16 have 4.

    Args:
        image: symbolic `(B, H, W, C)`, values 0–255.
        output_stride: 8, 16 or 32.
        filters: 64 for the paper's widths; all scale with it.

    Returns:
        `{output_stride: (B, ceil(H/output_stride), ceil(W/output_stride), 320)}`.
    """
    x = blocks.rescale(image)
    x = _conv(x, max(filters // 2, 1), 3, strides=2, name="encoder_stem")
    stride, dilation_rate, number = 2, 1, 0
    for expansion, width, units, first in _STAGES:
        for unit in range(units):
            strides = first if unit == 0 and stride < output_stride else 1
            x = _unit(
                x,
                max(width * filters // 64, 1),
                expansion,
                strides=strides,
                dilation_rate=dilation_rate,
                name=f"encoder_unit{number}",
            )
            if unit == 0 and strides < first:
                dilation_rate *= first
            stride, number = stride * strides, number + 1
    return {output_stride: x}


def _unit(x, filters, expansion, *, strides, dilation_rate, name):
    """1×1 to `expansion` times the width, 3×3 per channel, linear 1×1; the input is added where it fits."""
    inputs = x
    if expansion > 1:
        x = _conv(x, expansion * x.shape[-1], 1, name=f"{name}_expand")
    if strides > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        dilation_rate=dilation_rate,
        use_bias=False,
        depthwise_initializer=blocks.depthwise_initializer(),
        name=f"{name}_depthwise",
    )(x)
    x = blocks.normalize(x, "batch", f"{name}_depthwise", _EPSILON)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_project")(x)
    x = blocks.normalize(x, "batch", f"{name}_project", _EPSILON)
    if strides == 1 and inputs.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([inputs, x])
    return x


def _conv(x, filters, kernel_size, *, strides=1, name):
    if kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters, kernel_size, strides=strides, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    x = blocks.normalize(x, "batch", name, _EPSILON)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
