"""The encoder–decoder without skip connections."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from kseg import blocks
from kseg.checks import check_input_shape, check_num_classes
from kseg.layers import PadToMultiple
from kseg.types import Activation, InputShape, Normalization


def build_encoder_decoder(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    filters: int | Sequence[int] = 64,
    downsampling: Literal["pool", "stride"] = "pool",
    upsampling: Literal["transpose", "bilinear", "nearest"] = "transpose",
    normalization: Normalization = "batch",
    dropout: float = 0.0,
    activation: Activation = None,
    name: str = "encoder_decoder",
) -> keras.Model:
    """Build U-Net's two paths without what joins them: context, but soft borders.

    Prefer it to show what skips are worth; `build_unet` costs little more and draws borders better.

    Reference: no single paper; the form compared against in Badrinarayanan et al. 2017 (SegNet), section 3.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        filters: width of the first of five levels, doubled at each (64 → 1024); or the widths
            themselves.
        downsampling: `"pool"` (2×2 max pooling) or `"stride"` (the first convolution of each deeper level
            strides by 2): the same parameters.
        upsampling: `"transpose"` (2×2, halves the channels), `"bilinear"` or `"nearest"` (keep them).
        normalization: `"batch"`, `"group"` or `None`.
        dropout: in [0, 1), on the two deepest levels.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> model = build_encoder_decoder(2, (50, 70, 1), filters=4)
        >>> model.output_shape
        (None, 50, 70, 2)
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    widths = blocks.level_widths(filters)
    x = PadToMultiple(2 ** (len(widths) - 1), name="pad")(blocks.rescale(image))
    common: dict[str, Any] = {"normalization": normalization, "dropout": dropout}
    x = blocks.contracting_path(x, widths, downsampling=downsampling, **common)[-1]
    for level, width in reversed(list(enumerate(widths[:-1], start=1))):
        step = f"decoder_level{level}"
        x = blocks.upsample(x, upsampling, filters=width, name=step)
        x = blocks.double_conv(x, width, normalization=normalization, name=step)
    return keras.Model(image, blocks.finish(x, num_classes, activation=activation, crop_to=image), name=name)
