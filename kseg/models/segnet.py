"""SegNet and SegNet-Basic (Badrinarayanan, Kendall, Cipolla 2017)."""

from typing import Literal

import keras
from keras import layers

from kseg import blocks
from kseg.checks import check_choice, check_input_shape, check_num_classes
from kseg.encoders import vgg
from kseg.layers import LocalResponseNormalization, MaxPoolWithIndices, MaxUnpool
from kseg.types import Activation, InputShape, Normalization, PathLike

_CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each block of VGG16; the decoder mirrors them
# what has dropout in the encoder and in the decoder of Bayesian SegNet: blocks of VGG16, levels of Basic
_DROPPED = {"block": (3, 4, 5), "level": (2, 3, 4)}


def build_segnet(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["vgg16", "basic"] = "vgg16",
    backbone_weights: PathLike | None = None,
    filters: int = 64,
    normalization: Normalization = "batch",
    use_bias: bool = True,
    dropout: float = 0.0,
    activation: Activation = None,
    name: str = "segnet",
) -> keras.Model:
    """Build a SegNet: pools remember where each maximum was, and the decoder puts its values back there.

    Prefer it where memory for features is short: a skip costs 2 bits for each window instead of all features.
    `variant="basic"` is the small one, 1.4 million parameters, but 7×7 convolutions at full size.

    Reference: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture
    for Image Segmentation", PAMI 2017, section 3 and figure 2; layers as in the released models, whose
    convolutions have biases. `dropout=0.5` is Bayesian SegNet (Kendall et al. 2015).

    Differences from the reference: RGB instead of BGR. `"vgg16"` subtracts the mean and divides by 127.5,
    which batch normalisation undoes. Batch statistics are running averages (momentum 0.9) instead of
    averages over the training set afterwards. Local response normalisation in `"basic"` sees values 0–255.
    Cells within 1e-4 of the maximum count as equal to it, and the first wins.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size; odd maps are pooled to half their
            size rounded up, and unpooled to their own.
        variant: `"vgg16"` or `"basic"`.
        backbone_weights: `None`, `"imagenet"`, or the path of a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`. Only for `"vgg16"`.
        filters: width of the first level; of `"basic"` of all four, of `"vgg16"` the others are in
            proportion, 64 → 128, 256, 512, 512.
        normalization: `"batch"`, `"group"` or `None`.
        use_bias: whether all convolutions but the last have one; those of the released files do.
        dropout: in [0, 1), after the three deepest blocks of both paths.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_segnet(11, variant="basic")
        >>> f"{model.count_params():,}"
        '1,417,611'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, ("vgg16", "basic"))
    blocks.check_filters(filters)
    if backbone_weights is not None and not use_bias:
        raise ValueError("backbone_weights have biases: they need use_bias=True")
    if variant == "basic":
        if backbone_weights is not None:
            raise ValueError("backbone_weights is for variant='vgg16'; the encoder of 'basic' has none")
        x = _basic(image, filters, normalization, use_bias, dropout)
        kernel_size = 1
    else:
        x = _vgg16(image, filters, normalization, use_bias, dropout)
        kernel_size = 3
    scores = blocks.finish(x, num_classes, kernel_size=kernel_size, activation=activation)
    model = keras.Model(image, scores, name=name)
    vgg.load_vgg16(model, backbone_weights)
    return model


def _vgg16(image, filters, normalization, use_bias, dropout):
    pooled = []  # of each block: what was pooled, and the mask of its maxima

    def pool(x, block):
        before = x
        x, mask = MaxPoolWithIndices(name=f"encoder_pool{block}")(x)
        pooled.append((before, mask))
        return _drop(x, "encoder", "block", block, dropout)

    x = vgg.normalize_image(image)
    common = {"normalization": normalization, "use_bias": use_bias}
    x = vgg.vgg16(x, filters=filters, pool=pool, **common)[-1]
    for block in (5, 4, 3, 2, 1):  # (B, ceil(H/32), ceil(W/32), 512) and upwards
        before, mask = pooled[block - 1]
        x = MaxUnpool(name=f"decoder_block{block}_unpool")(x, mask, before)
        widths = [before.shape[-1]] * _CONVOLUTIONS[block - 1]
        widths[-1] = pooled[max(block - 2, 0)][0].shape[-1]  # the last one narrows to what the next mask has
        if block == 1:
            widths.pop()  # the scores are block 1's second convolution
        for number, width in enumerate(widths, start=1):
            name = f"decoder_block{block}_conv{number}"
            x = vgg.conv_relu(x, width, **common, name=name)
        x = _drop(x, "decoder", "block", block, dropout)
    return x  # (B, H, W, 64)


def _basic(image, filters, normalization, use_bias, dropout):
    pooled, x = [], LocalResponseNormalization(name="encoder_response_norm")(image)
    for level in (1, 2, 3, 4):
        name = f"encoder_level{level}_conv"
        common = {"kernel_size": 7, "normalization": normalization, "use_bias": use_bias, "name": name}
        x = vgg.conv_relu(x, filters, **common)
        before = x
        x, mask = MaxPoolWithIndices(name=f"encoder_pool{level}")(x)  # (B, ceil(H/2), ceil(W/2), 64) ...
        pooled.append((before, mask))
        x = _drop(x, "encoder", "level", level, dropout)
    for level in (4, 3, 2, 1):
        before, mask = pooled[level - 1]
        name = f"decoder_level{level}"
        x = MaxUnpool(name=f"{name}_unpool")(x, mask, before)
        common = {"use_bias": use_bias, "kernel_initializer": "he_normal", "name": f"{name}_conv"}
        x = layers.Conv2D(filters, 7, padding="same", **common)(x)
        x = blocks.normalize(x, normalization, f"{name}_conv")  # and no ReLU: the paper's decoder is linear
        x = _drop(x, "decoder", "level", level, dropout)
    return x  # (B, H, W, 64)


def _drop(x, path, kind, number, dropout):
    return blocks.drop(x, dropout, f"{path}_{kind}{number}_dropout") if number in _DROPPED[kind] else x
