"""DDRNet (Hong, Pan, Sun, Jia 2021): a deep branch and a detailed one that exchange features."""

from typing import Literal

import keras
from keras import layers

from kseg import blocks
from kseg.checks import check_choice, check_input_shape, check_num_classes
from kseg.encoders.weights import normalization_for
from kseg.layers import BatchNormalization, ResizeLike
from kseg.types import Activation, InputShape

# variant: (width of the stem, blocks per stage, width of the head)
_VARIANTS = {
    "23-slim": (32, (2, 2, 2, 2), 64),
    "23": (64, (2, 2, 2, 2), 128),
    "39": (64, (3, 4, 6, 3), 256),
}


def build_ddrnet(
    num_classes: int,
    input_shape: InputShape = (None, None, 3),
    *,
    variant: Literal["23-slim", "23", "39"] = "23-slim",
    filters: int | None = None,
    aux_heads: bool = False,
    dropout: float = 0.0,
    activation: Activation = None,
    name: str = "ddrnet",
) -> keras.Model:
    """Build a DDRNet: real-time segmentation from two branches, one deep and one detailed.

    Prefer it on phones and for video: "23-slim" has 5.7 M parameters and 3.0 G multiply-adds at 360×480,
    and trains well without pretrained weights.

    Reference: Hong, Pan, Sun, Jia, "Deep Dual-resolution Networks for Real-time and Accurate Semantic
    Segmentation of Road Scenes", 2021, figures 3 to 5 and table 1; sizes and order of operations as in the
    authors' released code.

    Differences from the reference: none in structure. Scores are resized to the picture's size inside the
    graph. On a height or width that 8 does not divide, stages round up and the scores are cropped.

    Args:
        num_classes: 1..255.
        input_shape: `(H, W, C)`; H and W in pixels or `None`, any size.
        variant: `"23-slim"`, `"23"` or `"39"`.
        filters: width of the stem instead of the variant's 32 or 64; all but the context module's
            branches and the head follow it.
        aux_heads: whether a second head on the detailed branch helps the training (weight 0.4).
        dropout: in [0, 1), before the scores.
        activation: `None` (logits), `"softmax"` or `"sigmoid"`.
        name: of the model.

    Returns:
        `keras.Model`: `(B, H, W, C)` values 0–255 → `(B, H, W, num_classes)` float32.

    Raises:
        ValueError: for an argument out of range or an unknown variant.

    Example:
        >>> f"{build_ddrnet(19).count_params():,}"
        '5,715,827'
    """
    check_num_classes(num_classes)
    check_choice("variant", variant, tuple(_VARIANTS))
    image = keras.Input(check_input_shape(input_shape), name="image")
    planes, depths, head = _VARIANTS[variant]
    if filters is not None:
        blocks.check_filters(filters)
    planes = filters or planes
    # (blocks, width of the deep branch) of each stage that ends in a fusion; 39 halves its third stage
    fused = [(depths[2], 4), (depths[3], 8)] if variant != "39" else [(3, 4), (3, 4), (depths[3], 8)]

    x = normalization_for("standardized", image.shape[-1])(image)
    for step in (1, 2):
        x = _conv_norm(x, planes, 3, strides=2, use_bias=True, name=f"stem_conv{step}")
        x = _relu(x, f"stem_conv{step}")
    x = _stage(x, planes, depths[0], name="stage1")  # (B, H/4, W/4, planes), linear as every stage
    x = _stage(_relu(x, "stage1"), 2 * planes, depths[1], strides=2, name="stage2")  # (B, H/8, W/8, 2 planes)
    low = high = _relu(x, "stage2")
    for number, (depth, width) in enumerate(fused, start=3):
        strides = 2 if number == 3 or width == 8 else 1
        low = _stage(low, width * planes, depth, strides=strides, name=f"low{number}")
        high = _stage(high, 2 * planes, depth, name=f"high{number}")
        low, high = _fuse(low, high, name=f"fusion{number}")
        if width == 4:
            auxiliary = high  # (B, H/8, W/8, 2 planes)
        low, high = _relu(low, f"fusion{number}_low"), _relu(high, f"fusion{number}_high")
    high = _bottleneck(high, 2 * planes, name="high_last")  # (B, H/8, W/8, 4 planes)
    low = _bottleneck(low, 8 * planes, strides=2, name="low_last")  # (B, H/64, W/64, 16 planes)
    context = dappm(low, 128 if filters is None else 4 * planes, 4 * planes, name="dappm")
    x = layers.Add(name="branches_sum")([high, ResizeLike(name="dappm_resize")(context, high)])
    head = head if filters is None else planes
    heads = [
        _head(features, image, num_classes, head, dropout, activation, role)
        for features, role in ((x, "logits"), (auxiliary, "auxiliary_logits"))
    ]
    return keras.Model(image, blocks.with_auxiliary(heads[0], heads[1:] if aux_heads else []), name=name)


def dappm(x: keras.KerasTensor, branch_filters: int, filters: int, *, name: str) -> keras.KerasTensor:
    """Deep aggregation pyramid pooling: context from ever larger windows, each added to the one before.

    `(B, h, w, c)` → `(B, h, w, filters)`. Windows of 5, 9 and 17 pixels and the whole map are pooled,
    narrowed, resized back, added to the coarser-to-finer sum so far, and fused by a 3×3 convolution.

    Reference: Hong et al. 2021, section 3.3, equation 2 and figure 5.
    """
    branches = [_pre_conv(x, branch_filters, 1, name=f"{name}_scale0")]
    for number, window in enumerate((5, 9, 17, None), start=1):
        step = f"{name}_scale{number}"
        pooled = _average(x, window, step)
        pooled = ResizeLike(name=f"{step}_resize")(_pre_conv(pooled, branch_filters, 1, name=step), x)
        total = layers.Add(name=f"{step}_add")([pooled, branches[-1]])
        branches.append(_pre_conv(total, branch_filters, 3, name=f"{step}_fuse"))
    joined = layers.Concatenate(name=f"{name}_concat")(branches)
    joined = _pre_conv(joined, filters, 1, name=f"{name}_compress")
    return layers.Add(name=f"{name}_sum")([joined, _pre_conv(x, filters, 1, name=f"{name}_shortcut")])


def _average(x, window, name):
    """Pool over `window` pixels at half its stride, zeros at the border counted; `None`: over everything."""
    if window is None:
        return layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    x = layers.ZeroPadding2D(window // 2, name=f"{name}_pad")(x)
    return layers.AveragePooling2D(window, strides=window // 2, name=f"{name}_pool")(x)


def _fuse(low, high, *, name):
    """Exchange between the branches; both sides read what the other was before."""
    down, steps = high, (low.shape[-1] // high.shape[-1]).bit_length() - 1
    for step in range(1, steps + 1):
        part = f"{name}_down{step}"
        down = _norm(
            _conv(_relu(down, f"{part}_in"), 2**step * high.shape[-1], 3, strides=2, name=part), part
        )
    up = _conv(_relu(low, f"{name}_up_in"), high.shape[-1], 1, name=f"{name}_up")
    up = ResizeLike(name=f"{name}_up_resize")(_norm(up, f"{name}_up"), high)
    return layers.Add(name=f"{name}_low")([low, down]), layers.Add(name=f"{name}_high")([high, up])


def _head(x, image, num_classes, width, dropout, activation, name):
    x = _pre_conv(x, width, 3, name=f"{name}_features")
    x = _relu(_norm(x, f"{name}_scores"), f"{name}_scores")
    x = blocks.drop(x, dropout, name=f"{name}_dropout")
    return blocks.finish(x, num_classes, stride=8, activation=activation, crop_to=image, name=name)


def _stage(x, filters, depth, *, strides=1, name):
    """Residual blocks; the last ends without ReLU, which the reader of the stage applies."""
    for number in range(1, depth + 1):
        block = f"{name}_block{number}"
        x = _basic_block(x, filters, strides=strides if number == 1 else 1, name=block)
        if number < depth:
            x = _relu(x, block)
    return x


def _basic_block(x, filters, *, strides, name):
    y = _conv_norm(x, filters, 3, strides=strides, name=f"{name}_conv1")
    y = _conv_norm(_relu(y, f"{name}_conv1"), filters, 3, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([y, _shortcut(x, filters, strides, name)])


def _bottleneck(x, filters, *, strides=1, name):
    """1×1, 3×3, 1×1 to twice the width; linear at the end."""
    y = _relu(_conv_norm(x, filters, 1, name=f"{name}_conv1"), f"{name}_conv1")
    y = _relu(_conv_norm(y, filters, 3, strides=strides, name=f"{name}_conv2"), f"{name}_conv2")
    y = _conv_norm(y, 2 * filters, 1, name=f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([y, _shortcut(x, 2 * filters, strides, name)])


def _shortcut(x, filters, strides, name):
    if strides == 1 and x.shape[-1] == filters:
        return x
    return _conv_norm(x, filters, 1, strides=strides, name=f"{name}_shortcut")


def _pre_conv(x, filters, kernel_size, *, name):
    """Normalisation, ReLU, convolution."""
    return _conv(_relu(_norm(x, name), name), filters, kernel_size, name=name)


def _conv_norm(x, filters, kernel_size, *, strides=1, use_bias=False, name):
    return _norm(_conv(x, filters, kernel_size, strides=strides, use_bias=use_bias, name=name), name)


def _conv(x, filters, kernel_size, *, strides=1, use_bias=False, name):
    """Convolve; where it strides, with the same padding on all sides as the reference."""
    padding = "same"
    if strides > 1:
        padding = "valid"
        if kernel_size > 1:
            x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


def _norm(x, name):
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)


def _relu(x, name):
    return layers.Activation("relu", name=f"{name}_relu")(x)
