"""Tensor→tensor functions that two or more architectures use.

Every function takes a `name` and gives its layers path-like names, `decoder_level3_conv1`: Keras forbids `/`.
"""

import keras
from keras import layers

from kseg.arguments import check_choice
from kseg.layers import AuxiliaryOutputs, BatchNormalization, CropLike, Upsample

NORMALIZATIONS = ("batch", "group", None)
UPSAMPLINGS = ("transpose", "bilinear", "nearest")


def level_widths(filters, levels=5):
    """Return one width per level: `filters` doubled at each, or `filters` itself where it is a sequence."""
    widths = (
        tuple(filters * 2**level for level in range(levels)) if isinstance(filters, int) else tuple(filters)
    )
    if len(widths) < 2 or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"filters must be a positive int or two or more of them, got {filters!r}")
    return widths


def normalize(x, normalization, name):
    """Apply `"batch"` (momentum 0.9: short runs settle) or `"group"` (groups of 16 or fewer) or nothing."""
    check_choice("normalization", normalization, NORMALIZATIONS)
    if normalization == "batch":
        return BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    if normalization == "group":
        channels = x.shape[-1]
        groups = next(g for g in range(max(channels // 16, 1), 0, -1) if channels % g == 0)
        return layers.GroupNormalization(groups, epsilon=1e-5, name=f"{name}_norm")(x)
    return x


def conv_norm_relu(x, filters, *, kernel_size=3, dilation_rate=1, normalization="batch", name):
    """`(B, H, W, c)` → `(B, H, W, filters)`: SAME convolution, normalisation, ReLU.

    The convolution has a bias only where no normalisation follows, which would cancel it.
    """
    x = layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        dilation_rate=dilation_rate,
        use_bias=normalization is None,
        kernel_initializer="he_normal",
        name=name,
    )(x)
    x = normalize(x, normalization, name)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def double_conv(x, filters, *, middle=None, normalization="batch", name):
    """Two 3×3 convolutions, `middle` (default `filters`) then `filters` wide."""
    x = conv_norm_relu(x, middle or filters, normalization=normalization, name=f"{name}_conv1")
    return conv_norm_relu(x, filters, normalization=normalization, name=f"{name}_conv2")


def contracting_path(x, filters, *, normalization="batch", dropout=0.0):
    """Return one tensor per entry of `filters`, each at half the size of the one before.

    `(B, H, W, c)` → `[(B, H, W, f0), (B, H/2, W/2, f1), ...]`: a double convolution per level, 2×2 max
    pooling between. `dropout` acts on the last two levels, where U-Net has it.
    """
    levels = []
    for level, width in enumerate(filters, start=1):
        if levels:
            x = layers.MaxPooling2D(2, name=f"encoder_pool{level - 1}")(x)
        x = double_conv(x, width, normalization=normalization, name=f"encoder_level{level}")
        if dropout and level >= len(filters) - 1:
            x = layers.Dropout(dropout, name=f"encoder_level{level}_dropout")(x)
        levels.append(x)
    return levels


def upsample(x, upsampling, *, filters=None, name):
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


def finish(x, num_classes, *, stride=1, kernel_size=1, activation=None, crop_to=None, name="logits"):
    """Turn decoder features into the model's output, float32 scores also under mixed precision.

    `stride` is that of `x`: the scores are resized by it, bilinear. `crop_to` is the unpadded tensor whose
    size the output gets, where the graph padded its input or rounded up while it halved.
    """
    check_choice("activation", activation, (None, "softmax", "sigmoid"))
    x = layers.Conv2D(num_classes, kernel_size, padding="same", dtype="float32", name=name)(x)
    if stride > 1:
        x = Upsample(stride, "bilinear", dtype="float32", name=f"{name}_resize")(x)
    if crop_to is not None and (None in x.shape[1:3] or x.shape[1:3] != crop_to.shape[1:3]):
        x = CropLike(dtype="float32", name=f"{name}_crop")(x, crop_to)
    if activation is not None:
        x = layers.Activation(activation, dtype="float32", name=f"{name}_probabilities")(x)
    return x  # (B, H, W, num_classes)


def with_auxiliary(main, auxiliary):
    """Join the model's output with those of its auxiliary heads, which only a training step then sees."""
    if not auxiliary:
        return main
    return AuxiliaryOutputs(dtype="float32", name="auxiliary_outputs")(main, *auxiliary)


def rescale(image, name="normalization"):
    """Map pixel values 0–255 to −1…1, inside the graph."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name=name)(image)
