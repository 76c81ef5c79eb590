"""Xception-65 as DeepLab v3+ modified it: deeper, strided convolutions for pooling, dilated at its end."""

import keras
from keras import layers

from kseg import blocks
from kseg.types import Features

_EPSILON = 1e-3  # of the released weights
_RATES = {8: (2, 2, 4), 16: (1, 1, 2), 32: (1, 1, 1)}  # middle flow, first and second exit block


def xception65(image: keras.KerasTensor, *, output_stride: int = 16, filters: int = 64) -> Features:
    """Run pixel values through the modified Xception-65 and return its features by stride.

    Reference: Chen et al. 2018 (DeepLab v3+), figure 4. Stride 4 is the decoder's tap: the second
    convolution of the second entry block, before its ReLU. Padding is symmetric where the reference strides.

    Args:
        image: symbolic `(B, H, W, C)`, values 0–255.
        output_stride: 8, 16 or 32.
        filters: 64 in the paper; all widths scale with it.

    Returns:
        dict `{4: (B, ceil(H/4), ceil(W/4), 256), output_stride: (B, ..., 2048)}`.
    """
    w32, w64, w128, w256, w728, w1024, w1536, w2048 = (
        max(width * filters // 64, 1) for width in (32, 64, 128, 256, 728, 1024, 1536, 2048)
    )
    middle_rate, exit1_rate, exit2_rate = _RATES[output_stride]
    strides = 1 if output_stride == 8 else 2, 2 if output_stride == 32 else 1  # entry block 3, exit block 1
    x = blocks.rescale(image)
    x = _conv(x, w32, strides=2, name="encoder_entry_conv1")
    x = _conv(x, w64, name="encoder_entry_conv2")  # (B, H/2, W/2, 64)
    x, _ = _block(x, (w128,) * 3, strides=2, name="encoder_entry_block1")
    x, low_level = _block(x, (w256,) * 3, strides=2, name="encoder_entry_block2")
    x, _ = _block(x, (w728,) * 3, strides=strides[0], name="encoder_entry_block3")  # (B, H/16, W/16, 728)
    for number in range(1, 17):
        name = f"encoder_middle_block{number}"
        x, _ = _block(x, (w728,) * 3, dilation_rate=middle_rate, shortcut="identity", name=name)
    widths = (w728, w1024, w1024)
    x, _ = _block(x, widths, strides=strides[1], dilation_rate=exit1_rate, name="encoder_exit_block1")
    for number, width in enumerate((w1536, w1536, w2048), start=1):
        name = f"encoder_exit_block2_conv{number}"
        x = blocks.separable_conv(x, width, dilation_rate=exit2_rate, epsilon=_EPSILON, name=name)
    return {4: low_level, output_stride: x}


def _conv(x, filters, *, strides=1, name):
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.Conv2D(filters, 3, strides=strides, use_bias=False, kernel_initializer="he_normal", name=name)(
        x
    )
    x = blocks.normalize(x, "batch", name, _EPSILON)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _block(x, widths, *, strides=1, dilation_rate=1, shortcut="conv", name):
    """Three times ReLU and separable convolution, the last with the stride, plus the input or its 1×1.

    Returns the sum and the output of the second convolution.
    """
    added = x
    if shortcut == "conv":
        added = layers.Conv2D(
            widths[-1],
            1,
            strides=strides,
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_shortcut",
        )(x)
        added = blocks.normalize(added, "batch", f"{name}_shortcut", _EPSILON)
    outputs = []
    for number, width in enumerate(widths, start=1):
        x = layers.Activation("relu", name=f"{name}_relu{number}")(x)
        x = blocks.separable_conv(
            x,
            width,
            strides=strides if number == 3 else 1,
            dilation_rate=dilation_rate if strides == 1 or number < 3 else 1,
            relu=False,
            epsilon=_EPSILON,
            name=f"{name}_conv{number}",
        )
        outputs.append(x)
    return layers.Add(name=f"{name}_add")([added, x]), outputs[1]
