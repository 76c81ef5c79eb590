"""DeepLab v3 (Chen, Papandreou, Schroff, Adam 2017)."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from kseg import blocks, encoders
from kseg.checks import check_choice, check_input_shape, check_num_classes, check_weights_have_backbone
from kseg.encoders.resnet import resnet_stages
from kseg.types import Activation, InputShape, PathLike

_DEPTHS = {"resnet50": 50, "resnet101": 101}


def build_deeplabv3(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["resnet50", "resnet101"] = "resnet50",
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 4),
    dilation_rates: Sequence[int] | None = None,
    head_conv: bool = False,
    aux_heads: bool = False,
    filters: int = 64,
    activation: Activation = None,
    name: str = "deeplabv3",
) -> keras.Model:
    """Build DeepLab v3: a dilated ResNet, atrous spatial pyramid pooling, bilinear scores.

    Prefer it where regions are large and context decides; `build_deeplabv3plus` draws finer borders for
    little more. Output stride 8 is finer than 16 and costs about three times as much.

    Reference: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image
    Segmentation", arXiv 1706.05587, figure 5; multi-grid: section 4.2.1, table 4.

    Differences from the reference: half-pixel resizing instead of aligned corners; the stride of a stage
    stands in its first unit (TF-Slim: in its last); output stride 32, with rates 3, 6, 9, is ours.
    torchvision's `deeplabv3_resnet50` is `head_conv=True, multi_grid=(1, 1, 1), output_stride=8`, except that
    it leaves the first unit of a dilated stage at the dilation before and drops out half after the pooling.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"resnet50"` or `"resnet101"`, the paper's encoder; ignored on a backbone.
        backbone: `None`, a name of `kseg.list_backbones()`, or a functional `keras.Model` that takes
            pixel values 0–255.
        backbone_weights: `None`, `"imagenet"`, or the path of a weights file; only with a named backbone.
        output_stride: 8, 16 or 32, pixels per feature.
        multi_grid: three ints, multiply the dilation of the units of the last stage; ignored on a backbone.
        dilation_rates: ints, in features; `None` is (6, 12, 18) at output stride 16, doubled at 8.
        head_conv: adds a 3×3 convolution between the pooling and the scores, as torchvision has it.
        aux_heads: adds a second head on stage 4 that only training sees.
        filters: width of the first stage, 64 in the paper; all widths follow, the heads' as well.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_deeplabv3(21, (65, 97, 3), filters=8)
        >>> model.get_layer("aspp_concat").output.shape
        (None, 5, 7, 160)
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, tuple(_DEPTHS))
    check_choice("output_stride", output_stride, (8, 16, 32))
    check_weights_have_backbone(backbone, backbone_weights)
    blocks.check_filters(filters)
    rates = blocks.aspp_rates(output_stride, dilation_rates)
    if backbone is None:
        form: dict[str, Any] = {"multi_grid": multi_grid, "filters": filters}
        stages = resnet_stages(image, _DEPTHS[variant], output_stride=output_stride, **form)
    else:
        stages = encoders.stages(image, backbone, backbone_weights, output_stride)
    x = stages[max(stages)]
    ending: dict[str, Any] = {"activation": activation, "crop_to": image}
    x = blocks.aspp(x, rates, filters=4 * filters)  # (B, H/16, W/16, 256)
    if head_conv:
        x = blocks.conv_norm_relu(x, 4 * filters, name="decoder_conv")
    scores = blocks.finish(x, num_classes, stride=output_stride, **ending)
    auxiliary = []
    if aux_heads:
        auxiliary = [blocks.auxiliary_head(stages, 4 * filters, num_classes, output_stride, **ending)]
    return keras.Model(image, blocks.with_auxiliary(scores, auxiliary), name=name)
