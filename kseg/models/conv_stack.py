"""The full-resolution stack of convolutions that every text on segmentation starts from."""

from collections.abc import Sequence

import keras

from kseg import blocks
from kseg.checks import check_input_shape, check_num_classes, is_count
from kseg.types import Activation, InputShape, Normalization


def build_conv_stack(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    depth: int = 4,
    filters: int = 64,
    dilation_rates: Sequence[int] | None = None,
    normalization: Normalization = "batch",
    activation: Activation = None,
    name: str = "conv_stack",
) -> keras.Model:
    """Build a stack of 3×3 convolutions that never leaves the picture's own resolution.

    Prefer it as a baseline only: each output sees `2 * depth + 1` pixels, so it learns colour and texture
    and nothing of shape. With `dilation_rates=(1, 2, 4, 8)` the same weights see 31 pixels.

    Reference: none; the textbook baseline that motivates encoders. For dilation: Yu & Koltun 2016, section 2.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`.
        depth: number of 3×3 convolutions.
        filters: width of each.
        dilation_rates: `None` (all 1) or one int per convolution.
        normalization: `"batch"`, `"group"` or `None`.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> model = build_conv_stack(3, (32, 48, 3), depth=2, filters=8)
        >>> model.output_shape
        (None, 32, 48, 3)
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    blocks.check_filters(filters)
    if not is_count(depth):
        raise ValueError(f"depth must be a positive int, got {depth!r}")
    rates = (1,) * depth if dilation_rates is None else tuple(dilation_rates)
    if len(rates) != depth:
        raise ValueError(
            f"dilation_rates needs one rate per convolution: depth={depth}, got {dilation_rates}"
        )
    x = blocks.rescale(image)
    for number, rate in enumerate(rates, start=1):
        x = blocks.conv_norm_relu(
            x, filters, dilation_rate=rate, normalization=normalization, name=f"stack_conv{number}"
        )  # (B, H, W, filters)
    return keras.Model(image, blocks.finish(x, num_classes, activation=activation), name=name)
