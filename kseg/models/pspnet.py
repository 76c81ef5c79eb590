"""PSPNet (Zhao, Shi, Qi, Wang, Jia 2017)."""

from typing import Literal

import keras
from keras import layers

from kseg import blocks, encoders
from kseg.checks import check_choice, check_input_shape, check_num_classes, check_weights_have_backbone
from kseg.encoders.resnet import resnet_stages
from kseg.layers import BinPooling, ResizeLike
from kseg.types import Activation, InputShape, PathLike

_DEPTHS = {"resnet50": 50, "resnet101": 101}
_BINS = (1, 2, 3, 6)


def build_pspnet(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["resnet50", "resnet101"] = "resnet50",
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    output_stride: int = 8,
    stem: Literal["7x7", "deep"] = "deep",
    aux_heads: bool = False,
    filters: int = 64,
    activation: Activation = None,
    name: str = "pspnet",
) -> keras.Model:
    """Build PSPNet: a dilated ResNet whose features are averaged over 1, 4, 9 and 36 regions.

    Prefer it for scenes, where what surrounds a region tells its class; sizes at prediction should be near
    those of training, for the regions grow with the picture.

    Reference: Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017, figure 3 and section
    3.2; the auxiliary loss: "Deep Supervision for ResNet-Based FCN", weight 0.4 (`kseg.losses.Auxiliary`).

    Differences from the reference: half-pixel resizing instead of aligned corners; regions overlap where 6
    does not divide the map, as in PyTorch, so no size is refused; on a padded `backbone` the regions
    contain the padding.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"resnet50"` or `"resnet101"`, the paper's encoder; ignored on a backbone.
        backbone: `None`, a name of `kseg.list_backbones()`, or a functional `keras.Model` that takes
            pixel values 0–255.
        backbone_weights: `None`, `"imagenet"`, or the path of a weights file; only with a named backbone.
        output_stride: 8, 16 or 32, pixels per feature.
        stem: `"deep"`, the paper's three 3×3 convolutions, or `"7x7"`; ignored on a backbone.
        aux_heads: adds a second head on stage 4 that only training sees.
        filters: width of the first stage, 64 in the paper; all widths follow, the heads' as well.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_pspnet(21)
        >>> f"{model.count_params():,}"
        '46,774,997'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, tuple(_DEPTHS))
    check_choice("output_stride", output_stride, (8, 16, 32))
    check_weights_have_backbone(backbone, backbone_weights)
    blocks.check_filters(filters)
    if backbone is None:
        stages = resnet_stages(
            image, _DEPTHS[variant], output_stride=output_stride, stem=stem, filters=filters
        )
    else:
        stages = encoders.stages(image, backbone, backbone_weights, output_stride)
    x = stages[max(stages)]
    ending = {"activation": activation, "crop_to": image}
    x = _pyramid_pooling(x)  # (B, H/8, W/8, 4096)
    x = blocks.conv_dropout(x, 8 * filters, name="decoder_conv")
    scores = blocks.finish(x, num_classes, stride=output_stride, **ending)
    auxiliary = []
    if aux_heads:
        auxiliary = [blocks.auxiliary_head(stages, 4 * filters, num_classes, output_stride, **ending)]
    return keras.Model(image, blocks.with_auxiliary(scores, auxiliary), name=name)


def _pyramid_pooling(x):
    """`(B, h, w, c)` → `(B, h, w, 2 * c)`: the map, and a quarter of its channels per grid of regions."""
    width = max(x.shape[-1] // len(_BINS), 1)
    branches = [x]
    for bins in _BINS:
        name = f"pyramid_bin{bins}"
        pooled = BinPooling(bins, name=f"{name}_pool")(x)  # (B, bins, bins, c)
        pooled = blocks.conv_norm_relu(pooled, width, kernel_size=1, name=f"{name}_conv")
        branches.append(ResizeLike(name=f"{name}_resize")(pooled, x))
    return layers.Concatenate(name="pyramid_concat")(branches)
