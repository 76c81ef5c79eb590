"""Tensor→tensor functions that two or more architectures use.

Every function takes a `name` and gives its layers path-like names, `decoder_level3_conv1`: Keras forbids `/`.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import keras
from keras import layers

from kseg.checks import check_choice, check_dilation_rates, is_count
from kseg.layers import AuxiliaryOutputs, BatchNormalization, CropLike, ResizeLike, Upsample
from kseg.types import Activation, Features, Normalization

NORMALIZATIONS = ("batch", "group", None)
ACTIVATIONS = (None, "softmax", "sigmoid")
DOWNSAMPLINGS = ("pool", "stride")
UPSAMPLINGS = ("transpose", "bilinear", "nearest")
_ASPP_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}  # the same span in pixels of the picture


def level_widths(filters: int | Sequence[int], levels: int = 5) -> tuple[int, ...]:
    """Return one width per level: `filters` doubled at each, or `filters` itself where it is a sequence."""
    if is_count(filters):
        filters = tuple(filters * 2**level for level in range(levels))
    widths = tuple(filters) if isinstance(filters, (tuple, list)) else ()
    if len(widths) < 2 or not all(map(is_count, widths)):
        raise ValueError(f"filters must be a positive int or two or more of them, got {filters!r}")
    return widths


def check_filters(filters: object) -> None:
    """Raise unless `filters` is one positive int, where all widths follow from the first."""
    if not is_count(filters):
        raise ValueError(f"filters must be a positive int, the first width, got {filters!r}")


def normalize(
    x: keras.KerasTensor, normalization: Normalization, name: str, epsilon: float = 1e-5
) -> keras.KerasTensor:
    """Apply `"batch"` (momentum 0.9: short runs settle) or `"group"` (groups of 16 or fewer) or nothing."""
    check_choice("normalization", normalization, NORMALIZATIONS)
    if normalization == "batch":
        return BatchNormalization(momentum=0.9, epsilon=epsilon, name=f"{name}_norm")(x)
    if normalization == "group":
        channels = x.shape[-1]
        groups = next(g for g in range(max(channels // 16, 1), 0, -1) if channels % g == 0)
        return layers.GroupNormalization(groups, epsilon=epsilon, name=f"{name}_norm")(x)
    return x


def drop(x: keras.KerasTensor, dropout: float, name: str) -> keras.KerasTensor:
    """Apply dropout, where it is not 0."""
    if isinstance(dropout, bool) or not isinstance(dropout, Real) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a number in [0, 1), got {dropout!r}")
    return layers.Dropout(float(dropout), name=name)(x) if dropout else x


def conv_norm_relu(
    x: keras.KerasTensor,
    filters: int,
    *,
    kernel_size: int = 3,
    strides: int = 1,
    dilation_rate: int = 1,
    normalization: Normalization = "batch",
    padding: Literal["same", "valid"] = "same",
    name: str,
) -> keras.KerasTensor:
    """`(B, H, W, c)` → `(B, H, W, filters)`: convolution, normalisation, ReLU.

    The convolution has a bias only where no normalisation follows, which would cancel it.
    """
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        dilation_rate=dilation_rate,
        use_bias=normalization is None,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = normalize(x, normalization, name)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def depthwise_initializer() -> keras.Initializer:
    """Return that of the references: Keras takes all channels for the fan of a depthwise kernel."""
    return keras.initializers.TruncatedNormal(stddev=0.33)


def separable_conv(
    x: keras.KerasTensor,
    filters: int,
    *,
    strides: int = 1,
    dilation_rate: int = 1,
    relu: bool = True,
    epsilon: float = 1e-5,
    name: str,
) -> keras.KerasTensor:
    """3×3 convolution per channel, then 1×1 to `filters` channels, each with its own batch normalisation.

    Both bias-free; a ReLU follows each where `relu`. Where it strides, padding is symmetric, unlike SAME.
    """
    if strides > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        dilation_rate=dilation_rate,
        use_bias=False,
        depthwise_initializer=depthwise_initializer(),
        name=f"{name}_depthwise",
    )(x)
    x = normalize(x, "batch", f"{name}_depthwise", epsilon)
    if relu:
        x = layers.Activation("relu", name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_pointwise")(x)
    x = normalize(x, "batch", f"{name}_pointwise", epsilon)
    return layers.Activation("relu", name=f"{name}_pointwise_relu")(x) if relu else x


def double_conv(
    x: keras.KerasTensor,
    filters: int,
    *,
    middle: int | None = None,
    strides: int = 1,
    normalization: Normalization = "batch",
    padding: Literal["same", "valid"] = "same",
    name: str,
) -> keras.KerasTensor:
    """Two 3×3 convolutions, `middle` (default `filters`) then `filters` wide; the first takes the strides."""
    common: dict[str, Any] = {"normalization": normalization, "padding": padding}
    x = conv_norm_relu(x, middle or filters, strides=strides, **common, name=f"{name}_conv1")
    return conv_norm_relu(x, filters, **common, name=f"{name}_conv2")


def contracting_path(
    x: keras.KerasTensor,
    filters: Sequence[int],
    *,
    downsampling: Literal["pool", "stride"] = "pool",
    normalization: Normalization = "batch",
    padding: Literal["same", "valid"] = "same",
    dropout: float = 0.0,
) -> list[keras.KerasTensor]:
    """Return one tensor per entry of `filters`, each at half the size of the one before.

    `(B, H, W, c)` → `[(B, H, W, f0), (B, H/2, W/2, f1), ...]`: a double convolution per level. Between them
    2×2 max pooling, or, by `"stride"`, the first convolution of a level takes every second pixel. `dropout`
    acts on the last two levels, where U-Net has it.
    """
    check_choice("downsampling", downsampling, DOWNSAMPLINGS)
    levels: list[keras.KerasTensor] = []
    common: dict[str, Any] = {"normalization": normalization, "padding": padding}
    for level, width in enumerate(filters, start=1):
        strides = 2 if levels and downsampling == "stride" else 1
        if levels and downsampling == "pool":
            x = layers.MaxPooling2D(2, name=f"encoder_pool{level - 1}")(x)
        x = double_conv(x, width, strides=strides, **common, name=f"encoder_level{level}")
        if level >= len(filters) - 1:
            x = drop(x, dropout, name=f"encoder_level{level}_dropout")
        levels.append(x)
    return levels


def upsample(
    x: keras.KerasTensor,
    upsampling: Literal["transpose", "bilinear", "nearest"],
    *,
    filters: int | None = None,
    name: str,
) -> keras.KerasTensor:
    """Double the size of `x`.

    `"transpose"` is the 2×2 up-convolution to `filters` channels; `"bilinear"` and `"nearest"` keep the
    channels and have no weights.
    """
    check_choice("upsampling", upsampling, UPSAMPLINGS)
    if upsampling == "transpose":
        return layers.Conv2DTranspose(
            filters, 2, strides=2, kernel_initializer="he_normal", name=f"{name}_upconv"
        )(x)
    return Upsample(2, upsampling, name=f"{name}_resize")(x)


def conv_dropout(x: keras.KerasTensor, filters: int, *, name: str) -> keras.KerasTensor:
    """3×3 convolution to `filters` channels, normalisation, ReLU, dropout 0.1: the usual end of a head."""
    x = conv_norm_relu(x, filters, name=name)
    return drop(x, 0.1, name=f"{name}_dropout")


def auxiliary_head(
    stages: Features, filters: int, num_classes: int, output_stride: int, **ending: Any
) -> keras.KerasTensor:
    """Return scores of stage 4, at stride 16 unless dilated, for the loss alone; `ending` is `finish`'s."""
    if 16 not in stages:
        raise ValueError(f"aux_heads needs features at stride 16, the backbone has strides {sorted(stages)}")
    x = conv_dropout(stages[16], filters, name="auxiliary_conv")
    return finish(x, num_classes, stride=min(output_stride, 16), name="auxiliary_logits", **ending)


def finish(
    x: keras.KerasTensor,
    num_classes: int,
    *,
    stride: int = 1,
    kernel_size: int = 1,
    activation: Activation = None,
    crop_to: keras.KerasTensor | None = None,
    name: str = "logits",
) -> keras.KerasTensor:
    """Turn decoder features into the model's output, float32 scores also under mixed precision.

    `stride`, `activation` and `crop_to` are those of `full_size`.
    """
    check_choice("activation", activation, ACTIVATIONS)
    x = layers.Conv2D(num_classes, kernel_size, padding="same", dtype="float32", name=name)(x)
    return full_size(x, stride=stride, activation=activation, crop_to=crop_to, name=name)


def full_size(
    x: keras.KerasTensor,
    *,
    stride: int = 1,
    activation: Activation = None,
    crop_to: keras.KerasTensor | None = None,
    name: str = "logits",
) -> keras.KerasTensor:
    """Bring scores at a stride to the size of the picture, float32.

    `stride` is that of `x`: the scores are resized by it, bilinear. `crop_to` is the unpadded tensor whose
    size the output gets, where the graph padded its input or rounded up while it halved.
    """
    check_choice("activation", activation, ACTIVATIONS)
    if activation == "softmax" and x.shape[-1] == 1:
        raise ValueError("softmax over num_classes=1 is always 1: use activation='sigmoid', or two classes")
    if stride > 1:
        x = Upsample(stride, "bilinear", dtype="float32", name=f"{name}_resize")(x)
    if crop_to is not None and (None in x.shape[1:3] or x.shape[1:3] != crop_to.shape[1:3]):
        x = CropLike(dtype="float32", name=f"{name}_crop")(x, crop_to)
    if activation is not None:
        x = layers.Activation(activation, dtype="float32", name=f"{name}_probabilities")(x)
    return x  # (B, H, W, num_classes)


def with_auxiliary(main: keras.KerasTensor, auxiliary: Sequence[keras.KerasTensor]) -> keras.KerasTensor:
    """Join the model's output with those of its auxiliary heads, which only a training step then sees."""
    if not auxiliary:
        return main
    return AuxiliaryOutputs(dtype="float32", name="auxiliary_outputs")(main, *auxiliary)


def rescale(image: keras.KerasTensor, name: str = "normalization") -> keras.KerasTensor:
    """Map pixel values 0–255 to −1…1, inside the graph."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=name)(image)


def aspp_rates(output_stride: int, dilation_rates: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return `dilation_rates` as a tuple, or the paper's for this output stride where they are `None`."""
    return _ASPP_RATES[output_stride] if dilation_rates is None else check_dilation_rates(dilation_rates)


def aspp(
    x: keras.KerasTensor,
    dilation_rates: Sequence[int],
    *,
    filters: int = 256,
    separable: bool = False,
    name: str = "aspp",
) -> keras.KerasTensor:
    """See the map at several scales at once: `(B, h, w, c)` → `(B, h, w, filters)`.

    A 1×1 convolution, one 3×3 per dilation rate, and the mean of the whole map spread back over it, side by
    side, joined by a 1×1 convolution. No rates leave the first and the last, the head of MobileNetV2.

    Atrous spatial pyramid pooling, the head that DeepLab v3 and v3+ share.

    Reference: Chen et al. 2017 (DeepLab v3), figure 5; separable: Chen et al. 2018 (v3+), section 3.1.
    """
    branches = [conv_norm_relu(x, filters, kernel_size=1, name=f"{name}_conv")]
    for rate in dilation_rates:
        conv = separable_conv if separable else conv_norm_relu
        branches.append(conv(x, filters, dilation_rate=rate, name=f"{name}_rate{rate}"))
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_image_mean")(x)  # (B, 1, 1, c)
    pooled = conv_norm_relu(pooled, filters, kernel_size=1, name=f"{name}_image_conv")
    branches.append(ResizeLike(name=f"{name}_image_resize")(pooled, x))
    x = layers.Concatenate(name=f"{name}_concat")(branches)  # (B, h, w, 5 * filters)
    x = conv_norm_relu(x, filters, kernel_size=1, name=f"{name}_projection")
    return drop(x, 0.1, name=f"{name}_dropout")
