"""DeepLab v2 (Chen, Papandreou, Kokkinos, Murphy, Yuille 2018)."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers

from kseg import blocks
from kseg.checks import check_choice, check_dilation_rates, check_input_shape, check_num_classes
from kseg.encoders import vgg
from kseg.encoders.resnet import resnet
from kseg.layers import PadToMultiple
from kseg.types import Activation, InputShape, PathLike

# variant: dilation rates of the parallel branches, in features of stride 8
_VARIANTS = {
    "vgg16-aspp-l": (6, 12, 18, 24),
    "vgg16-aspp-s": (2, 4, 8, 12),
    "resnet101": (6, 12, 18, 24),
}


def build_deeplabv2(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["vgg16-aspp-l", "vgg16-aspp-s", "resnet101"] = "vgg16-aspp-l",
    backbone_weights: PathLike | None = None,
    dilation_rates: Sequence[int] | None = None,
    filters: int = 64,
    dropout: float = 0.5,
    activation: Activation = None,
    name: str = "deeplabv2",
) -> keras.Model:
    """Build DeepLab v2: features at stride 8, and the sum of four dilated classifiers on them.

    Prefer it to reproduce the paper (followed by `kseg.dense_crf`); `build_deeplabv3` replaced it.

    Reference: Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep
    Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", PAMI 2018, figure 7, section 4.1.

    Differences from the reference: batch norms of the ResNet learn; one scale of the picture instead of the
    maximum over three; half-pixel resizing; on VGG16 the pads of
    `kseg.encoders.vgg.atrous_vgg16`.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"vgg16-aspp-l"` (rates 6, 12, 18, 24), `"vgg16-aspp-s"` (2, 4, 8, 12) or `"resnet101"`.
        backbone_weights: `None`, `"imagenet"`, or the path of a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`; for the VGG16 variants.
        dilation_rates: one int per branch, in features; `None` is the variant's.
        filters: width of the first stage, 64 in the paper; all widths scale with it.
        dropout: in [0, 1), twice in each branch on VGG16; ResNet has none.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_deeplabv2(21)
        >>> f"{model.count_params():,}"
        '37,877,652'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, tuple(_VARIANTS))
    if variant == "resnet101" and backbone_weights is not None:
        raise ValueError("backbone_weights is for the VGG16 variants, got it with variant='resnet101'")
    blocks.check_filters(filters)
    rates = _VARIANTS[variant] if dilation_rates is None else check_dilation_rates(dilation_rates)
    if not rates:
        raise ValueError("dilation_rates is empty: the scores are a sum over one branch per rate")
    if variant == "resnet101":
        x = resnet(image, 101, output_stride=8, filters=filters)[8]  # (B, H/8, W/8, 2048)
        branches = [_scores(x, num_classes, 3, rate, f"logits_rate{rate}") for rate in rates]
    else:
        x = PadToMultiple(8, name="pad")(vgg.normalize_image(image))
        x = vgg.atrous_vgg16(x, filters=filters)  # (B, H/8, W/8, 512)
        branches = [_branch(x, num_classes, rate, 16 * filters, dropout) for rate in rates]
    scores = layers.Add(dtype="float32", name="logits")(branches) if len(branches) > 1 else branches[0]
    scores = blocks.full_size(scores, stride=8, activation=activation, crop_to=image)
    model = keras.Model(image, scores, name=name)
    if variant != "resnet101":
        vgg.load_vgg16(model, backbone_weights)
    return model


def _branch(x, num_classes, rate, filters, dropout):
    """fc6 to fc8 of VGG16 as convolutions, the first dilated."""
    name = f"branch_rate{rate}"
    x = vgg.fully_connected(
        x, filters, kernel_size=3, dilation_rate=rate, dropout=dropout, name=name
    )  # (B, H/8, W/8, 1024)
    return _scores(x, num_classes, 1, 1, f"{name}_fc8")


def _scores(x, num_classes, kernel_size, dilation_rate, name):
    return layers.Conv2D(
        num_classes, kernel_size, padding="same", dilation_rate=dilation_rate, dtype="float32", name=name
    )(x)
