"""FCN-8s, FCN-16s and FCN-32s (Long, Shelhamer, Darrell 2015) on VGG16, AlexNet or a backbone."""

import keras
from keras import layers

from kseg import backbones, blocks, encoders
from kseg.arguments import check_choice, check_input_shape, check_num_classes
from kseg.layers import LocalResponseNormalization, PadToMultiple, Upsample

_STRIDES = (8, 16, 32)


def build_fcn(
    num_classes,
    input_shape=(None, None, 3),
    *,
    variant="vgg16",
    output_stride=None,
    backbone=None,
    backbone_weights=None,
    filters=None,
    dropout=0.5,
    activation=None,
    name="fcn",
):
    """Build a fully convolutional network: a classifier that scores every position, summed over strides.

    Prefer it as the reference point of the field. At 134 million parameters, three quarters of them in
    fc6, it is heavy for what it gives; on a backbone it is a light model without a decoder.

    Reference: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
    section 4 and figure 3; Shelhamer, Long, Darrell, PAMI 2017.

    Differences from the reference: SAME convolutions on a picture padded to a multiple of 32, instead of a
    first layer padded by 100 pixels and crops at 5, 9, 31 pixels. The fixed bilinear upsampling is a resize:
    the same numbers as the reference's transposed convolution with a frozen bilinear kernel, except within
    half a stride of the border, where that one mixes in what lies outside. Pixel values less their mean
    are divided by 127.5. AlexNet's pools are padded so that a score lies 2.5 pixels off its square's centre.

    Args:
        num_classes: int, 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"vgg16"` or `"alexnet"` (CaffeNet, two groups in conv2, 4 and 5; FCN-32s only).
        output_stride: 8, 16 or 32, the finest stride that is scored: FCN-8s, 16s, 32s. `None` is 8, for
            AlexNet 32.
        backbone: `None` (`variant`), a name of `kseg.list_backbones()`, or a functional `keras.Model` that
            takes pixel values 0–255. Its features at strides `output_stride` to 32 are scored by 1×1
            convolutions, without fc6 and fc7.
        backbone_weights: `None`, `"imagenet"`, or a path: with VGG16 a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`, on a backbone one saved from it.
        filters: int, width of the first of VGG16's five blocks, the others and fc6/fc7 in proportion
            (64 → 128, 256, 512, 512, 4096); or all six. AlexNet: int, 96 → 256, 384, 384, 256, 4096.
            `None` is the paper's. Not for a backbone.
        dropout: float in [0, 1), after fc6 and fc7; on a backbone before its coarsest scores.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: str.

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
    check_choice("variant", variant, ("vgg16", "alexnet"))
    check_choice("output_stride", output_stride, (*_STRIDES, None))
    if backbone is not None:
        if variant != "vgg16" or filters is not None:
            raise ValueError("variant and filters are for the paper's own encoders; a backbone has its own")
        features = _backbone(image, backbone, backbone_weights, output_stride or 8, dropout)
    elif variant == "alexnet":
        if output_stride not in (None, 32) or backbone_weights is not None:
            raise ValueError(
                "variant='alexnet' is FCN-32s without pretrained weights: "
                "output_stride must be None or 32, backbone_weights None"
            )
        features = {32: _alexnet(image, 96 if filters is None else filters, dropout)}
    else:
        features = _vgg16(image, 64 if filters is None else filters, dropout)
    finest = output_stride or (32 if variant == "alexnet" else 8)
    scores = _scores({stride: x for stride, x in features.items() if stride >= finest}, num_classes)
    scores = blocks.full_size(scores, stride=finest, activation=activation, crop_to=image)
    model = keras.Model(image, scores, name=name)
    if backbone is None:
        encoders.load_vgg16(model, backbone_weights)
    return model


def _scores(features, num_classes):
    """Sum the scores of all strides at the finest one, from coarse to fine: figure 3 of the paper."""
    total, coarser = None, None
    for stride, x in sorted(features.items(), reverse=True):
        x = layers.Conv2D(
            num_classes, 1, kernel_initializer="zeros", dtype="float32", name=f"scores_stride{stride}"
        )(x)  # zeros, as in the reference: a finer stride adds nothing before it has learnt
        if total is not None:
            total = Upsample(coarser // stride, dtype="float32", name=f"scores_stride{stride}_resize")(total)
            x = layers.Add(dtype="float32", name=f"scores_stride{stride}_sum")([total, x])
        total, coarser = x, stride
    return total  # (B, H/8, W/8, num_classes)


def _vgg16(image, filters, dropout):
    x = PadToMultiple(32, name="pad")(encoders.normalize_image(image))
    pool3, pool4, pool5 = encoders.vgg16(x, filters=filters)[2:]
    top = encoders.fully_connected(pool5, encoders.vgg_widths(filters)[5], dropout=dropout)
    return {8: pool3, 16: pool4, 32: top}  # (B, H/8, W/8, 256), (B, H/16, W/16, 512), (B, H/32, W/32, 4096)


def _alexnet(image, filters, dropout):
    """CaffeNet, in which pooling comes before the local response normalisation."""
    if not isinstance(filters, int) or filters < 1 or filters % 6:
        raise ValueError(
            f"filters of variant='alexnet' must be a multiple of 6, 96 in the paper, got {filters!r}"
        )
    w1, w2, w3, head = filters, filters * 8 // 3, filters * 4, filters * 128 // 3  # 96, 256, 384, 4096
    x = PadToMultiple(32, name="pad")(encoders.normalize_image(image))
    x = encoders.conv_relu(x, w1, kernel_size=11, strides=4, name="encoder_conv1")  # (B, H/4, W/4, 96)
    x = encoders.max_pool_before(x, name="encoder_pool1")
    x = LocalResponseNormalization(name="encoder_norm1")(x)
    x = encoders.conv_relu(x, w2, kernel_size=5, groups=2, name="encoder_conv2")  # (B, H/8, W/8, 256)
    x = encoders.max_pool_before(x, name="encoder_pool2")
    x = LocalResponseNormalization(name="encoder_norm2")(x)
    x = encoders.conv_relu(x, w3, name="encoder_conv3")  # (B, H/16, W/16, 384)
    x = encoders.conv_relu(x, w3, groups=2, name="encoder_conv4")
    x = encoders.conv_relu(x, w2, groups=2, name="encoder_conv5")
    x = encoders.max_pool_before(x, name="encoder_pool5")  # (B, H/32, W/32, 256)
    return encoders.fully_connected(x, head, kernel_size=6, dropout=dropout)


def _backbone(image, backbone, weights, output_stride, dropout):
    features = backbones.pyramid(image, backbone, weights)
    if output_stride not in features:
        raise ValueError(
            f"output_stride={output_stride}: the backbone has features at strides {sorted(features)} only"
        )
    coarsest = max(features)
    if dropout:
        features[coarsest] = layers.Dropout(dropout, name="head_dropout")(features[coarsest])
    return features
