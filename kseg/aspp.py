"""Atrous spatial pyramid pooling, the head that DeepLab v3 and v3+ share."""

from keras import layers

from kseg import blocks
from kseg.checks import check_dilation_rates
from kseg.layers import ResizeLike

_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}  # the same span in pixels of the picture


def aspp_rates(output_stride, dilation_rates=None):
    """Return `dilation_rates` as a tuple, or the paper's for this output stride where they are `None`."""
    return _RATES[output_stride] if dilation_rates is None else check_dilation_rates(dilation_rates)


def aspp(x, dilation_rates, *, filters=256, separable=False, name="aspp"):
    """See the map at several scales at once: `(B, h, w, c)` → `(B, h, w, filters)`.

    A 1×1 convolution, one 3×3 per dilation rate, and the mean of the whole map spread back over it, side by
    side, joined by a 1×1 convolution. No rates leave the first and the last, the head of MobileNetV2.

    Reference: Chen et al. 2017 (DeepLab v3), figure 5; separable: Chen et al. 2018 (v3+), section 3.1.
    """
    branches = [blocks.conv_norm_relu(x, filters, kernel_size=1, name=f"{name}_conv")]
    for rate in dilation_rates:
        conv = blocks.separable_conv if separable else blocks.conv_norm_relu
        branches.append(conv(x, filters, dilation_rate=rate, name=f"{name}_rate{rate}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_image_mean")(x)  # (B, 1, 1, c)
    pooled = blocks.conv_norm_relu(pooled, filters, kernel_size=1, name=f"{name}_image_conv")
    branches.append(ResizeLike(name=f"{name}_image_resize")(pooled, x))
    x = layers.Concatenate(name=f"{name}_concat")(branches)  # (B, h, w, 5 * filters)
    x = blocks.conv_norm_relu(x, filters, kernel_size=1, name=f"{name}_projection")
    return blocks.drop(x, 0.1, name=f"{name}_dropout")
