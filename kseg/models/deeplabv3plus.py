"""DeepLab v3+ (Chen, Zhu, Papandreou, Schroff, Adam 2018)."""

from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers

from kseg import blocks, encoders
from kseg.checks import check_choice, check_input_shape, check_num_classes, check_weights_have_backbone
from kseg.encoders.mobilenet import mobilenet_v2
from kseg.encoders.resnet import resnet
from kseg.encoders.xception import xception65
from kseg.layers import CropLike, Upsample
from kseg.types import Activation, InputShape, PathLike

_VARIANTS = ("xception65", "resnet50", "resnet101", "mobilenet_v2")


def build_deeplabv3plus(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["xception65", "resnet50", "resnet101", "mobilenet_v2"] = "xception65",
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    output_stride: int = 16,
    dilation_rates: Sequence[int] | None = None,
    separable: bool = True,
    filters: int = 64,
    activation: Activation = None,
    name: str = "deeplabv3plus",
) -> keras.Model:
    """Build DeepLab v3+: DeepLab v3 as encoder, and a small decoder that looks at stride 4 again.

    Prefer it over `build_deeplabv3` nearly always: finer borders for little more. `variant="mobilenet_v2"`
    or a mobile `backbone` suits phones; the former is 2.1 M parameters and has no decoder.

    Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018, figure 2; Xception: figure 4; MobileNetV2: Sandler et al. 2018, section 6.3.

    Differences from the reference: half-pixel resizing instead of aligned corners; a ResNet strides in the
    first unit of a stage and has no multi-grid; output stride 32, with rates 3, 6, 9, is ours.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"xception65"`, `"resnet50"`, `"resnet101"`; or `"mobilenet_v2"`, which as published has
            neither dilated branches (unless `dilation_rates` are given) nor a decoder; ignored on a backbone.
        backbone: `None`, a name of `kseg.list_backbones()`, or a functional `keras.Model` that takes
            pixel values 0–255.
        backbone_weights: `None`, `"imagenet"`, or the path of a weights file; only with a named backbone.
        output_stride: 8, 16 or 32, pixels per feature of the encoder.
        dilation_rates: ints, in features; `None` is (6, 12, 18) at output stride 16, doubled at 8.
        separable: takes separable 3×3 convolutions in the pyramid and the decoder.
        filters: 64 in the paper; all widths scale with it, the decoder's as well.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_deeplabv3plus(21, variant="mobilenet_v2")
        >>> f"{model.count_params():,}"
        '2,146,645'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, _VARIANTS)
    check_choice("output_stride", output_stride, (8, 16, 32))
    check_weights_have_backbone(backbone, backbone_weights)
    blocks.check_filters(filters)
    if backbone is not None:
        features = encoders.pyramid(image, backbone, backbone_weights, output_stride=output_stride)
        if 4 not in features:
            raise ValueError("backbone has no features at stride 4, which the decoder of DeepLab v3+ needs")
    else:
        features = _encoder(image, variant, output_stride, filters)
    with_decoder = 4 in features
    rates = blocks.aspp_rates(output_stride, dilation_rates if with_decoder else dilation_rates or ())
    x = blocks.aspp(features[output_stride], rates, filters=4 * filters, separable=separable)
    if with_decoder:
        x = _decoder(x, features[4], output_stride // 4, filters, separable)
    stride = 4 if with_decoder else output_stride
    scores = blocks.finish(x, num_classes, stride=stride, activation=activation, crop_to=image)
    return keras.Model(image, scores, name=name)


def _encoder(image, variant, output_stride, filters):
    """Return `{stride: tensor}` with the output stride and, where there is a decoder, 4."""
    if variant == "xception65":
        return xception65(image, output_stride=output_stride, filters=filters)
    if variant == "mobilenet_v2":
        return mobilenet_v2(image, output_stride=output_stride, filters=filters)
    depth = 50 if variant == "resnet50" else 101
    return resnet(image, depth, output_stride=output_stride, filters=filters)


def _decoder(x, low_level, factor, filters, separable):
    """`(B, H/16, W/16, 256)` and `(B, H/4, W/4, c)` → `(B, H/4, W/4, 256)`, section 3.1 and table 2."""
    low_level = blocks.conv_norm_relu(
        low_level, max(3 * filters // 4, 1), kernel_size=1, name="decoder_low_level"
    )  # 48 channels: more would outweigh the encoder's 256
    x = Upsample(factor, name="decoder_resize")(x)
    x = CropLike(name="decoder_crop")(x, low_level)  # sizes round up while they halve
    x = layers.Concatenate(name="decoder_concat")([x, low_level])
    conv = blocks.separable_conv if separable else blocks.conv_norm_relu
    for number in (1, 2):
        x = conv(x, 4 * filters, name=f"decoder_conv{number}")
    return x
