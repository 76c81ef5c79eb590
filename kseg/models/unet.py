"""U-Net (Ronneberger, Fischer, Brox 2015), with the paper's own encoder or on a backbone."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers

from kseg import blocks, encoders
from kseg.checks import check_choice, check_input_shape, check_num_classes, is_count
from kseg.layers import CropLike, PadToMultiple
from kseg.types import Activation, InputShape, Normalization, PathLike

_DECODER_FILTERS = (256, 128, 64, 32, 16)  # segmentation_models' default: figures compare


def build_unet(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    filters: int | Sequence[int] = 64,
    decoder_filters: Sequence[int] | None = None,
    upsampling: Literal["transpose", "bilinear", "nearest"] | None = None,
    normalization: Normalization = "batch",
    padding: Literal["same", "valid"] = "same",
    dropout: float = 0.0,
    activation: Activation = None,
    name: str = "unet",
) -> keras.Model:
    """Build a U-Net: an encoder, a decoder, and a skip connection at every resolution.

    Prefer it where borders and thin things matter and data are few. The paper's own encoder
    (`backbone=None`) suits microscopy and other single-scale pictures; a backbone with
    `backbone_weights="imagenet"` suits photographs and phones.

    Reference: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015, figure 1.

    Differences from the reference: SAME padding unless `padding="valid"`, so the output has the input's
    size; batch normalisation unless `normalization=None`, which has the paper's 31.03 M parameters.
    `upsampling="bilinear"` is the 17.26 M parameter variant in wide use: half-width bottleneck,
    convolutions that narrow in two steps. On a backbone the decoder is that of segmentation_models: double
    size, concatenate, two 3×3 convolutions, 3×3 head.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        backbone: `None`, a name of `kseg.list_backbones()`, or a functional `keras.Model` that takes
            pixel values 0–255.
        backbone_weights: `None`, `"imagenet"`, or the path of a weights file; only with a named backbone.
        filters: width of the first of five levels, doubled at each (64 → 1024); or the widths
            themselves. Ignored on a backbone.
        decoder_filters: widths of the decoder on a backbone, from its coarsest stride to the full size;
            `None` is `(256, 128, 64, 32, 16)`. Only with a backbone.
        upsampling: `"transpose"` (2×2 up-convolution), `"bilinear"` or `"nearest"`; `None` is
            `"transpose"` with the paper's encoder, `"nearest"` on a backbone.
        normalization: `"batch"`, `"group"` or `None`, outside the backbone.
        padding: `"same"`, or `"valid"` as in the paper: no score sees anything made up, and the output is
            smaller than the picture, by 92 pixels at each side (572 → 388): cut the masks alike. Sizes are
            188, 204, 220, ... pixels; others are an error where the size is known. Only with the paper's
            encoder; the numbers are those of five levels.
        dropout: in [0, 1), at the end of the contracting path.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32, with
        `padding="valid"` `(B, H - 184, W - 184, num_classes)`.

    Raises:
        ValueError: for an argument out of range, an unknown name, or a size that `"valid"` cannot take.

    Example:
        >>> model = build_unet(11, normalization=None)
        >>> f"{model.count_params():,}"
        '31,032,395'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("upsampling", upsampling, (*blocks.UPSAMPLINGS, None))
    check_choice("padding", padding, ("same", "valid"))
    if backbone is None:
        if backbone_weights is not None:
            raise ValueError("backbone_weights needs a named backbone; the paper's own encoder has none")
        if decoder_filters is not None:
            raise ValueError(
                "decoder_filters is for a backbone; filters sets the widths of the paper's own U-Net"
            )
        widths = blocks.level_widths(filters)
        x = _paper_unet(image, widths, upsampling or "transpose", normalization, padding, dropout)
        kernel_size = 1
    else:
        if padding == "valid":
            raise ValueError("padding='valid' is the paper's own U-Net; a backbone has padding='same'")
        features = encoders.pyramid(image, backbone, backbone_weights)
        x = _backbone_unet(
            features,
            _DECODER_FILTERS if decoder_filters is None else decoder_filters,
            upsampling or "nearest",
            normalization,
            dropout,
        )
        kernel_size = 3
    crop_to = image if padding == "same" else None
    scores = blocks.finish(x, num_classes, kernel_size=kernel_size, activation=activation, crop_to=crop_to)
    return keras.Model(image, scores, name=name)


def _paper_unet(image, widths, upsampling, normalization, padding, dropout):
    if upsampling != "transpose":  # the resize keeps the channels: start from a narrower bottleneck
        widths = (*widths[:-1], widths[-1] // 2)
    x = blocks.rescale(image)
    if padding == "same":
        x = PadToMultiple(2 ** (len(widths) - 1), name="pad")(x)
    else:
        _check_valid_size(image.shape[1:3], len(widths))
    common = {"normalization": normalization, "padding": padding}
    levels = blocks.contracting_path(x, widths, **common, dropout=dropout)
    x = levels.pop()  # (B, H/16, W/16, 1024)
    for level in range(len(levels), 0, -1):
        step, skip = f"decoder_level{level}", levels[level - 1]
        x = blocks.upsample(x, upsampling, filters=widths[level - 1], name=step)
        if padding == "valid":
            skip = CropLike(centered=True, name=f"{step}_crop")(skip, x)
        x = layers.Concatenate(name=f"{step}_concat")([skip, x])
        if upsampling == "transpose":
            x = blocks.double_conv(x, widths[level - 1], **common, name=step)
        else:
            width = widths[max(level - 2, 0)]
            middle = x.shape[-1] // 2
            x = blocks.double_conv(x, width, middle=middle, **common, name=step)
    return x  # (B, H, W, 64)


def _check_valid_size(sizes, levels):
    """Raise unless every level of an unpadded U-Net halves evenly and leaves something to score."""
    for size in sizes:
        if size is not None and not _has_output(size, levels):
            larger = next(n for n in range(size, size + 4 * 3**levels) if _has_output(n, levels))
            smaller = next((n for n in range(size, 0, -1) if _has_output(n, levels)), None)
            nearest = f"{larger} pixels" if smaller is None else f"{smaller} or {larger} pixels"
            raise ValueError(
                f"input_shape: padding='valid' cannot take {size} pixels with {levels} levels, the next "
                f"valid size is {nearest}; give that, None, or padding='same'"
            )


def _has_output(size, levels):
    for _ in range(levels - 1):
        size -= 4  # two 3×3 convolutions
        if size <= 0 or size % 2:
            return False
        size //= 2
    for _ in range(levels - 1):
        size = 2 * (size - 4)
    return size - 4 > 0


def _backbone_unet(features, decoder_filters, upsampling, normalization, dropout):
    stride = max(features)
    if not isinstance(decoder_filters, (tuple, list)) or not all(map(is_count, decoder_filters)):
        raise ValueError(f"decoder_filters must be positive ints, got {decoder_filters!r}")
    if 2 ** len(decoder_filters) != stride:
        raise ValueError(
            f"decoder_filters needs {stride.bit_length() - 1} widths, one per doubling from the backbone's "
            f"stride {stride} to the full size, got {decoder_filters}"
        )
    x = features[stride]  # (B, H/32, W/32, c32)
    x = blocks.drop(x, dropout, name="encoder_dropout")
    for level, width in enumerate(decoder_filters, start=1):
        stride //= 2
        step = f"decoder_level{level}"
        x = blocks.upsample(x, upsampling, filters=x.shape[-1], name=step)
        if stride in features:
            x = layers.Concatenate(name=f"{step}_concat")([x, features[stride]])
        x = blocks.double_conv(x, width, normalization=normalization, name=step)
    return x  # (B, H, W, 16)
