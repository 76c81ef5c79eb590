"""FCN-8s, 16s, 32s (Long, Shelhamer, Darrell 2015) on VGG16, AlexNet, a dilated ResNet or a backbone."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from kseg import blocks, encoders
from kseg.checks import check_choice, check_input_shape, check_num_classes, is_count
from kseg.encoders import vgg
from kseg.encoders.resnet import resnet_stages
from kseg.layers import LocalResponseNormalization, PadToMultiple, Upsample
from kseg.types import Activation, InputShape, PathLike, Tensor

_STRIDES = (8, 16, 32)
_GROUPS = {"alexnet": 2, "alexnet_ungrouped": 1}
_DEPTHS = {"resnet50": 50, "resnet101": 101}


def build_fcn(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["vgg16", "alexnet", "alexnet_ungrouped", "resnet50", "resnet101"] = "vgg16",
    output_stride: int | None = None,
    backbone: str | keras.Model | None = None,
    backbone_weights: PathLike | None = None,
    upsampling: Literal["bilinear", "transpose"] = "bilinear",
    aux_heads: bool = False,
    filters: int | Sequence[int] | None = None,
    dropout: float = 0.5,
    activation: Activation = None,
    name: str = "fcn",
) -> keras.Model:
    """Build a fully convolutional network: a classifier that scores every position, summed over strides.

    Prefer it as the reference point of the field. At 134 million parameters, three quarters of them in
    fc6, it is heavy for what it gives; on a backbone it is a light model without a decoder. The ResNet
    variants are what newer papers call FCN: a dilated ResNet, one 3×3 convolution, scores at one stride.

    Reference: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    section 4 and figure 3; Shelhamer, Long, Darrell, PAMI 2017. ResNet: torchvision's `fcn_resnet50`.

    Differences from the reference: SAME convolutions on a picture padded to a multiple of 32, instead of a
    first layer padded by 100 pixels and crops at 5, 9, 31 pixels. The fixed bilinear upsampling is a resize:
    the same numbers as the reference's transposed convolution with a frozen bilinear kernel, except within
    half a stride of the border, where that one mixes in what lies outside. Pixel values less their mean
    are divided by 127.5. AlexNet's pools are padded so that a score lies 2.5 pixels off its square's centre.
    torchvision's ResNet leaves the first unit of a dilated stage at the dilation before.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"vgg16"`; `"alexnet"` (CaffeNet, two groups in conv2, 4 and 5; FCN-32s only) or
            `"alexnet_ungrouped"`; `"resnet50"` or `"resnet101"`.
        output_stride: 8, 16 or 32, the finest stride that is scored: FCN-8s, 16s, 32s; of a ResNet, the
            stride that it is dilated to. `None` is 8, for AlexNet 32.
        backbone: `None` (`variant`), a name of `kseg.list_backbones()`, or a functional `keras.Model` that
            takes pixel values 0–255. Its features at strides `output_stride` to 32 are scored by 1×1
            convolutions, without fc6 and fc7.
        backbone_weights: `None`, `"imagenet"`, or a path: with VGG16 a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`, on a backbone one saved from it.
        upsampling: `"bilinear"`, fixed; or `"transpose"`, the paper's deconvolutions, from every class to
            every class: they start as bilinear interpolation and learn.
        aux_heads: adds a second head on stage 4 that only training sees; ResNet only.
        filters: width of the first of VGG16's five blocks, the others and fc6/fc7 in proportion
            (64 → 128, 256, 512, 512, 4096); or all six. AlexNet: int, 96 → 256, 384, 384, 256, 4096.
            ResNet: int, 64 → 256, 512, 1024, 2048. `None` is the paper's. Not for a backbone.
        dropout: in [0, 1), after fc6 and fc7; on a backbone before its coarsest scores; the heads of
            a ResNet keep 0.1.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_fcn(21, (100, 75, 3), filters=4)
        >>> model.output_shape
        (None, 100, 75, 21)
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, ("vgg16", *_GROUPS, *_DEPTHS))
    check_choice("output_stride", output_stride, (*_STRIDES, None))
    check_choice("upsampling", upsampling, ("bilinear", "transpose"))
    if backbone is not None and (variant != "vgg16" or filters is not None):
        raise ValueError("variant and filters are for the paper's own encoders; a backbone has its own")
    if aux_heads and variant not in _DEPTHS:
        raise ValueError("aux_heads needs variant='resnet50' or 'resnet101'")
    if variant != "vgg16" and backbone_weights is not None:
        raise ValueError(f"variant={variant!r} has no pretrained weights: leave backbone_weights None")
    if variant in _GROUPS and output_stride not in (None, 32):
        raise ValueError(f"variant={variant!r} is FCN-32s: output_stride must be None or 32")
    finest = output_stride or (32 if variant in _GROUPS else 8)
    auxiliary = []
    if backbone is not None:
        features = _backbone(image, backbone, backbone_weights, finest, dropout)
    elif variant == "vgg16":
        features = _vgg16(image, 64 if filters is None else filters, dropout)
    elif variant in _GROUPS:
        features = {32: _alexnet(image, 96 if filters is None else filters, dropout, _GROUPS[variant])}
    else:
        width: Any = 64 if filters is None else filters  # resnet_stages refuses several
        stages = resnet_stages(image, _DEPTHS[variant], output_stride=finest, filters=width)
        features = {finest: blocks.conv_dropout(stages[32], 8 * width, name="head_conv")}
        if aux_heads:
            ending = {"activation": activation, "crop_to": image}
            auxiliary = [blocks.auxiliary_head(stages, 4 * width, num_classes, finest, **ending)]
    features = {stride: x for stride, x in features.items() if stride >= finest}
    scores = _scores(features, num_classes, upsampling)
    if upsampling == "transpose":
        size = 2 * finest - (variant in _GROUPS)  # 63 for AlexNet, 64 for VGG16
        scores = _deconvolution(scores, finest, size, name="logits_upconv")
        finest = 1
    scores = blocks.full_size(scores, stride=finest, activation=activation, crop_to=image)
    model = keras.Model(image, blocks.with_auxiliary(scores, auxiliary), name=name)
    if backbone is None:
        vgg.load_vgg16(model, backbone_weights)
    return model


def _scores(features, num_classes, upsampling):
    """Sum the scores of all strides at the finest one, from coarse to fine: figure 3 of the paper."""
    total, coarser = None, None
    for stride, x in sorted(features.items(), reverse=True):
        x = layers.Conv2D(
            num_classes, 1, kernel_initializer="zeros", dtype="float32", name=f"scores_stride{stride}"
        )(x)  # zeros, as in the reference: a finer stride adds nothing before it has learnt
        if total is not None:
            factor, name = coarser // stride, f"scores_stride{stride}"
            if upsampling == "transpose":
                total = _deconvolution(total, factor, 2 * factor, name=f"{name}_upconv")
            else:
                total = Upsample(factor, dtype="float32", name=f"{name}_resize")(total)
            x = layers.Add(dtype="float32", name=f"{name}_sum")([total, x])
        total, coarser = x, stride
    return total  # (B, H/8, W/8, num_classes)


def _deconvolution(scores, factor, kernel_size, *, name):
    """`(B, h, w, c)` → `(B, factor * h, factor * w, c)`, bilinear until it has learnt better."""
    return layers.Conv2DTranspose(
        scores.shape[-1],
        kernel_size,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearUpsampling(),
        dtype="float32",
        name=name,
    )(scores)


@keras.saving.register_keras_serializable(package="kseg")
class BilinearUpsampling(keras.initializers.Initializer):
    """Initialise a transposed convolution as bilinear interpolation of each channel by itself.

    A kernel of `2 * strides` (or one less) pixels holds the triangle `1 - |distance| / strides` of each axis.

    Reference: Long et al. 2015, section 3.3.
    """

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        height, width, outputs, inputs = shape
        rows, columns = _triangle(height), _triangle(width)
        kernel = rows[:, None, None, None] * columns[:, None, None] * np.eye(outputs, inputs)
        return ops.cast(kernel, dtype or "float32")


def _triangle(size):
    strides = (size + 1) // 2
    centre = strides - 1 if size % 2 else strides - 0.5
    return 1 - np.abs(np.arange(size) - centre) / strides


def _vgg16(image, filters, dropout):
    x = PadToMultiple(32, name="pad")(vgg.normalize_image(image))
    pool3, pool4, pool5 = vgg.vgg16(x, filters=filters)[2:]
    top = vgg.fully_connected(pool5, vgg.vgg_widths(filters)[5], dropout=dropout)
    return {8: pool3, 16: pool4, 32: top}  # (B, H/8, W/8, 256), (B, H/16, W/16, 512), (B, H/32, W/32, 4096)


def _alexnet(image, filters, dropout, groups):
    """CaffeNet, in which pooling comes before the local response normalisation."""
    if not is_count(filters) or filters % 6:
        raise ValueError(
            f"filters of variant='alexnet' must be a multiple of 6, 96 in the paper, got {filters!r}"
        )
    w1, w2, w3, head = filters, filters * 8 // 3, filters * 4, filters * 128 // 3  # 96, 256, 384, 4096
    x = PadToMultiple(32, name="pad")(vgg.normalize_image(image))
    x = vgg.conv_relu(x, w1, kernel_size=11, strides=4, name="encoder_conv1")  # (B, H/4, W/4, 96)
    x = vgg.max_pool_before(x, name="encoder_pool1")
    x = LocalResponseNormalization(name="encoder_norm1")(x)
    x = vgg.conv_relu(x, w2, kernel_size=5, groups=groups, name="encoder_conv2")  # (B, H/8, W/8, 256)
    x = vgg.max_pool_before(x, name="encoder_pool2")
    x = LocalResponseNormalization(name="encoder_norm2")(x)
    x = vgg.conv_relu(x, w3, name="encoder_conv3")  # (B, H/16, W/16, 384)
    x = vgg.conv_relu(x, w3, groups=groups, name="encoder_conv4")
    x = vgg.conv_relu(x, w2, groups=groups, name="encoder_conv5")
    x = vgg.max_pool_before(x, name="encoder_pool5")  # (B, H/32, W/32, 256)
    return vgg.fully_connected(x, head, kernel_size=6, dropout=dropout)


def _backbone(image, backbone, weights, output_stride, dropout):
    features = encoders.pyramid(image, backbone, weights)
    if output_stride not in features:
        raise ValueError(
            f"output_stride={output_stride}: the backbone has features at strides {sorted(features)} only"
        )
    coarsest = max(features)
    features[coarsest] = blocks.drop(features[coarsest], dropout, name="head_dropout")
    return features
