"""Backbones: a name or a `keras.Model` becomes `{stride: tensor}`, each with its own normalisation."""

import warnings

import keras
import numpy as np

from kseg.arguments import unknown_name
from kseg.layers import BatchNormalization, PadToMultiple

# ImageNet statistics of the RGB channels, 0–255 (torchvision's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225).
_MEAN = (123.675, 116.28, 103.53)
_STD = (58.395, 57.12, 57.375)
# Caffe's means, RGB order (keras.applications resnet50 and vgg16 were trained with them, BGR and unscaled).
_CAFFE_MEAN = (123.68, 116.779, 103.939)

# name: (keras.applications function, what its pretrained weights expect)
_APPLICATIONS = {
    "efficientnet_v2_b0": ("EfficientNetV2B0", "standardized"),
    "efficientnet_v2_b1": ("EfficientNetV2B1", "standardized"),
    "efficientnet_v2_b2": ("EfficientNetV2B2", "standardized"),
    "efficientnet_v2_b3": ("EfficientNetV2B3", "standardized"),
    "mobilenet_v2": ("MobileNetV2", "unit"),
    "mobilenet_v3_large": ("MobileNetV3Large", "unit"),
    "mobilenet_v3_small": ("MobileNetV3Small", "unit"),
    "resnet50": ("ResNet50", "caffe"),
    "resnet101": ("ResNet101", "caffe"),
    "vgg16": ("VGG16", "caffe"),
}

# keras-cv's CSPDarkNet (YOLOX widths and depths): name: (channels, depths)
_CSP_DARKNETS = {
    "csp_darknet_tiny": ((48, 96, 192, 384), (1, 3, 3, 1)),
    "csp_darknet_s": ((64, 128, 256, 512), (1, 3, 3, 1)),
    "csp_darknet_m": ((96, 192, 384, 768), (2, 6, 6, 2)),
    "csp_darknet_l": ((128, 256, 512, 1024), (3, 9, 9, 3)),
}

_STRIDES = (2, 4, 8, 16, 32)


def list_backbones():
    """Return the names that `backbone=` takes, sorted.

    Example:
        >>> list_backbones()[:3]
        ['csp_darknet_l', 'csp_darknet_m', 'csp_darknet_s']
    """
    return sorted((*_APPLICATIONS, *_CSP_DARKNETS))


def pyramid(image, backbone, weights=None):
    """Run `image` through a backbone and return its features by stride.

    The picture is normalised as the backbone's pretrained weights expect it and padded to a multiple of the
    coarsest stride, so every map has exactly `1/stride` of the padded size.

    Args:
        image: symbolic `(B, H, W, C)`, values 0–255; H and W may be `None`.
        backbone: str, one of `list_backbones()`; or a functional `keras.Model` that takes values 0–255,
            for instance a keras-cv or keras-hub backbone.
        weights: `None`, `"imagenet"` (keras.applications only, downloaded by Keras and checked against its
            hash; C must be 3), or the path of a `.weights.h5` file saved from the same backbone.

    Returns:
        dict `{stride: (B, H/stride, W/stride, c)}`, strides ascending. At each stride it is the last tensor
        before the next halving.

    Raises:
        ValueError: for an unknown name, for weights that do not fit, for a model without a pyramid.
        TypeError: if `backbone` is neither a name nor a functional `keras.Model`.
    """
    channels = image.shape[-1]
    if isinstance(backbone, str):
        model, normalization = _named(backbone, channels, weights)
        image, name = normalization(image), backbone
    elif isinstance(backbone, keras.Model) and hasattr(backbone, "operations"):
        if weights is not None:
            raise ValueError(
                "backbone_weights needs a named backbone; load weights into your keras.Model itself"
            )
        model, name = backbone, backbone.name
    else:
        raise TypeError(
            f"backbone must be None, a name or a functional keras.Model, got {type(backbone).__name__}; "
            f"known names: {', '.join(list_backbones())}"
        )
    tensors = _pyramid_tensors(model)
    extractor = keras.Model(model.inputs, list(tensors.values()), name=name)
    padded = PadToMultiple(max(tensors), name="pad")(image)
    return dict(zip(tensors, extractor(padded), strict=True))


def _named(name, channels, weights):
    """Return the backbone model and the normalisation layer for values 0–255."""
    if name in _CSP_DARKNETS:
        if weights == "imagenet":
            raise ValueError(f"backbone {name!r} has no 'imagenet' weights; use None or the path of a file")
        return _load(_csp_darknet(name, channels), weights), _normalization("unit", channels)
    if name not in _APPLICATIONS:
        raise unknown_name("backbone", name, list_backbones())
    function, expects = _APPLICATIONS[name]
    if weights == "imagenet" and channels != 3:
        raise ValueError(
            f"backbone_weights='imagenet' needs 3 channels, input_shape has {channels}; use None or a path"
        )
    kwargs = {"include_top": False, "input_shape": (None, None, channels)}
    if expects != "caffe" and name != "mobilenet_v2":
        kwargs["include_preprocessing"] = False  # ours serves any number of channels
    pretrained = "imagenet" if weights == "imagenet" else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        try:
            original = getattr(keras.applications, function)(weights=pretrained, **kwargs)
        except Exception as error:  # Keras' downloader raises the bare class
            if pretrained is None:
                raise
            raise OSError(
                f"backbone_weights='imagenet' of {name!r} could not be loaded: {error}; give a path instead"
            ) from error
    momentum = 0.9 if weights is None else 0.99
    model = keras.models.clone_model(original, clone_function=lambda layer: _retuned(layer, momentum))
    model.set_weights(original.get_weights())
    if pretrained and expects == "caffe":
        _swap_red_and_blue(model)
    return _load(model, None if pretrained else weights), _normalization(expects, channels)


def _retuned(layer, momentum):
    """Copy a layer; batch norms train by the fused kernel, with at most this momentum.

    MobileNet's 0.999 suits a million ImageNet steps. Untrained weights move so fast that even after 100
    steps at 0.99 the moving averages lag behind and validation is worthless; pretrained ones move slowly.
    """
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNormalization.from_config({**config, "momentum": min(config["momentum"], momentum)})
    return layer.__class__.from_config(config)


def _csp_darknet(name, channels):
    import keras_cv  # imports slowly, prints, and is needed here alone

    widths, depths = _CSP_DARKNETS[name]
    return keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=list(widths),
        stackwise_depth=list(depths),
        include_rescaling=False,
        input_shape=(None, None, channels),
        name=name,
    )


def _load(model, path):
    if path is None:
        return model
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras skips what does not fit with a mere warning
            model.load_weights(path)
    except (OSError, ValueError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"backbone_weights={str(path)!r} cannot be loaded into {model.name!r}: {reason}. "
            f"Give None, 'imagenet' or a .weights.h5 file saved from this backbone"
        ) from error
    return model


def _normalization(expects, channels):
    """Return the layer from 0–255 to what the weights expect; statistics of RGB apply to 3 channels alone."""
    scale, offset = 1 / 127.5, -1.0
    if channels == 3 and expects == "standardized":
        scale = [1 / std for std in _STD]
        offset = [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)]
    elif channels == 3 and expects == "caffe":
        scale, offset = 1.0, [-mean for mean in _CAFFE_MEAN]
    return keras.layers.Rescaling(scale, offset=offset, name="normalization")


def _swap_red_and_blue(model):
    """Reverse the input channels of the first convolution: BGR weights then take RGB at no cost."""
    stem = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    stem.kernel.assign(np.asarray(stem.kernel)[:, :, ::-1, :])


def _pyramid_tensors(model):
    """Return `{stride: symbolic tensor}` of a functional model, strides measured on a probe shape.

    Names such as "P3" are not trusted for the stride: libraries number levels differently.
    """
    tensors = [layer.output for layer in model.layers if len(getattr(layer, "_inbound_nodes", ())) == 1]
    # keras-hub declares {"P3": tensor}, keras-cv {"P3": layer name}; what is declared comes last and wins
    declared = getattr(model, "pyramid_outputs", None) or getattr(model, "pyramid_level_inputs", None) or {}
    tensors += [model.get_layer(out).output if isinstance(out, str) else out for out in declared.values()]
    maps = [t for t in tensors if isinstance(t, keras.KerasTensor) and len(t.shape) == 4]
    shape = model.inputs[0].shape
    height, width = (side or 256 for side in shape[1:3])
    sizes = keras.Model(model.inputs, maps).compute_output_shape((1, height, width, shape[-1]))
    levels = {}
    for tensor, size in zip(maps, sizes, strict=True):
        for stride in _STRIDES:
            if (size[1] * stride, size[2] * stride) == (height, width):
                levels[stride] = tensor
    if not levels:
        raise ValueError(
            f"backbone {model.name!r} has no feature maps at strides {_STRIDES}; is it a classifier?"
        )
    return dict(sorted(levels.items()))
