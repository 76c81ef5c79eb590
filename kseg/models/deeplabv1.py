"""DeepLab v1 (Chen, Papandreou, Kokkinos, Murphy, Yuille 2015): VGG16 with holes, LargeFOV."""

from collections.abc import Sequence
from typing import Literal

import keras

from kseg import blocks
from kseg.checks import check_choice, check_input_shape, check_num_classes
from kseg.encoders import vgg
from kseg.layers import PadToMultiple
from kseg.types import Activation, InputShape, PathLike

# fc6: kernel size, dilation rate, width over that of the first block (64)
_VARIANTS = {"largefov": (3, 12, 16), "4x4": (4, 8, 64), "7x7": (7, 4, 64)}


def build_deeplabv1(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["largefov", "4x4", "7x7"] = "largefov",
    backbone_weights: PathLike | None = None,
    filters: int | Sequence[int] = 64,
    dropout: float = 0.5,
    activation: Activation = None,
    name: str = "deeplabv1",
) -> keras.Model:
    """Build DeepLab v1: VGG16 at stride 8, dilated where it lost its subsampling, and a bilinear resize.

    Prefer it to FCN: a like field of view in 20.5 instead of 134 million parameters. The paper's second
    half is a dense CRF on its probabilities.

    Reference: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
    CRFs", ICLR 2015, section 3 and table 2 (field of view 224 pixels in all three variants).

    Differences from the reference: the picture is padded to a multiple of 8 instead of sizes 8k + 1, and
    the pools so that the resize of half-pixel centres fits, see `kseg.encoders.vgg.atrous_vgg16`. The loss
    sees scores at the size of the picture instead of masks subsampled by 8. Pixel values less their mean
    are divided by 127.5. Fields of view of other sizes and the multi-scale form are left out.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"largefov"` (fc6 of 3×3, dilation 12, 1024 wide), `"4x4"` (dilation 8, 4096 wide) or
            `"7x7"` (dilation 4, 4096 wide).
        backbone_weights: `None`, `"imagenet"`, or the path of a `.weights.h5` file of
            `keras.applications.VGG16(include_top=False)`.
        filters: width of the first of VGG16's five blocks, the others and fc6/fc7 in proportion; or all
            six.
        dropout: in [0, 1), after fc6 and fc7.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown name.

    Example:
        >>> model = build_deeplabv1(21)
        >>> f"{model.count_params():,}"
        '20,505,429'
    """
    check_num_classes(num_classes)
    image = keras.Input(check_input_shape(input_shape), name="image")
    check_choice("variant", variant, tuple(_VARIANTS))
    kernel_size, rate, head = _VARIANTS[variant]
    widths = vgg.vgg_widths(filters, head)
    x = PadToMultiple(8, name="pad")(vgg.normalize_image(image))
    x = vgg.atrous_vgg16(x, filters=widths)  # (B, H/8, W/8, 512)
    x = vgg.fully_connected(
        x, widths[5], kernel_size=kernel_size, dilation_rate=rate, dropout=dropout
    )  # (B, H/8, W/8, 1024)
    scores = blocks.finish(x, num_classes, stride=8, activation=activation, crop_to=image)
    model = keras.Model(image, scores, name=name)
    vgg.load_vgg16(model, backbone_weights)
    return model
