"""Dilation8 and Dilation10 (Yu & Koltun 2016): a dilated VGG16 front end and a context module."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from kseg import blocks
from kseg.checks import check_choice, check_input_shape, check_num_classes
from kseg.encoders import vgg
from kseg.layers import PadToMultiple
from kseg.types import Activation, InputShape, PathLike, Tensor

# Dilation of the context module's 3×3 convolutions; a 1×1 follows.
_RATES = {"dilation8": (1, 1, 2, 4, 8, 16, 1), "dilation10": (1, 1, 2, 4, 8, 16, 32, 64, 1)}
# Widths of the large module over the number of classes, the last one the 1×1.
_LARGE = (2, 2, 4, 8, 16, 32, 32, 1)


def build_dilatednet(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["dilation8", "dilation10"] = "dilation8",
    context: Literal["basic", "large"] | None = "basic",
    backbone_weights: PathLike | None = None,
    filters: int | Sequence[int] = 64,
    dropout: float = 0.5,
    activation: Activation = None,
    name: str = "dilatednet",
) -> keras.Model:
    """Build a DilatedNet: VGG16 without its last two pools, and a module that looks 67 cells of 8 pixels far.

    Prefer it to study context: the module takes and gives scores, starts as the identity, and may be put
    behind any front end. `context="basic"` costs 64 C² weights.

    Reference: Yu & Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016, sections 3
    and 4, table 1; released models for VOC, CamVid (Dilation8) and Cityscapes (Dilation10).

    Differences from the reference: SAME convolutions on a picture padded to a multiple of 8, instead of
    unpadded ones on a picture reflected by 186 pixels at each side; scores of the outermost cells see zeros.
    Half-pixel bilinear resize instead of one from the top left corner of each cell. Pixel values less their
    mean (ImageNet's instead of the data's) are divided by 127.5.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"dilation8"`, or `"dilation10"` with dilation 32 and 64 for pictures of 1000 pixels or
            more.
        context: `"basic"`, `"large"` (Dilation8 only, for VOC) or `None`, the front end alone.
        backbone_weights: `None`, `"imagenet"`, or the path of a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`.
        filters: width of the first of VGG16's five blocks, the others and fc6/fc7 in proportion
            (64 → 128, 256, 512, 512, 4096); or all six.
        dropout: in [0, 1), after fc6 and fc7.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_dilatednet(11, (90, 110, 3), filters=4)
        >>> model.output_shape
        (None, 90, 110, 11)
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, tuple(_RATES))
    check_choice("context", context, ("basic", "large", None))
    if context == "large" and variant != "dilation8":
        raise ValueError("context='large' belongs to variant='dilation8'; Dilation10 has context='basic'")
    widths = vgg.vgg_widths(filters)
    scores = _front_end(image, num_classes, widths, dropout)
    if context is not None:
        rates = _RATES[variant]
        multiples = _LARGE if context == "large" else (1,) * (len(rates) + 1)
        scores = _context(scores, num_classes, rates, multiples)
    scores = blocks.full_size(scores, stride=8, activation=activation, crop_to=image)
    model = keras.Model(image, scores, name=name)
    vgg.load_vgg16(model, backbone_weights)
    return model


def _front_end(image, num_classes, widths, dropout):
    """Section 4: pools 4 and 5 are gone, what follows each is dilated by 2 more: 2 in block 5, 4 in fc6."""

    def pool(x, block):
        return vgg.max_pool(x, block) if block <= 3 else x

    x = PadToMultiple(8, name="pad")(vgg.normalize_image(image))
    x = vgg.vgg16(x, filters=widths, dilation_rates=(1, 1, 1, 1, 2), pool=pool)[-1]
    x = vgg.fully_connected(x, widths[5], dilation_rate=4, dropout=dropout)  # (B, H/8, W/8, 4096)
    small = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Conv2D(num_classes, 1, kernel_initializer=small, dtype="float32", name="head_scores")(x)


def _context(x, num_classes, rates, multiples):
    """Table 1: 3×3 convolutions of growing dilation with ReLU, then a 1×1 without."""
    for number, (rate, multiple) in enumerate(zip((*rates, 1), multiples, strict=True), start=1):
        last = number == len(multiples)
        x = layers.Conv2D(
            multiple * num_classes,
            1 if last else 3,
            padding="same",
            dilation_rate=rate,
            activation=None if last else "relu",
            kernel_initializer=ContextIdentity(
                num_classes, stddev=0.0 if max(multiples) == 1 else 0.01 / multiple
            ),
            dtype="float32",
            name=f"context_conv{number}",
        )(x)
    return x  # (B, H/8, W/8, num_classes)


@keras.saving.register_keras_serializable(package="kseg")
class ContextIdentity(keras.initializers.Initializer):
    """Initialise a convolution as the identity on groups of channels: equations 4 and 5 of the paper.

    Channels come in `num_classes` groups, one for each class. At the centre of the kernel, outputs take the
    mean of what the inputs of their own group sum to: `num_classes / outputs`; all other weights are noise.
    Scores that are not negative then pass the module unchanged; random weights gave the authors no gain.

    Args:
        num_classes: a divisor of the channels in and out.
        stddev: of the noise, well below `num_classes / outputs`.
    """

    def __init__(self, num_classes: int, stddev: float = 0.0) -> None:
        self.num_classes = num_classes
        self.stddev = stddev

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        height, width, inputs, outputs = shape
        group_in = np.arange(inputs) * self.num_classes // inputs
        group_out = np.arange(outputs) * self.num_classes // outputs
        identity = np.zeros(shape, "float32")
        identity[height // 2, width // 2] = group_in[:, None] == group_out
        noise = keras.random.normal(shape, stddev=self.stddev, dtype="float32") * (1 - identity)
        return ops.cast(identity * self.num_classes / outputs + noise, dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "stddev": self.stddev}
