"""Backbones: a name or a `keras.Model` becomes `{stride: tensor}`, each with its own normalisation.

At an output stride of 16 or 8 the late strides become dilation, with the same weights.
"""

import keras

from kseg.checks import check_choice
from kseg.encoders.dilation import Rebuild
from kseg.encoders.named import build_named, list_backbones
from kseg.encoders.strides import levels
from kseg.graphs import layers_inside
from kseg.layers import PadToMultiple
from kseg.types import Features, PathLike

__all__ = ["list_backbones", "pyramid", "stages"]

# keras-cv's layers that hold nothing but layers of Keras
_COMPOSITES = {
    *("CrossStagePartial", "FusedMBConvBlock", "HardSigmoidActivation", "MBConvBlock", "SqueezeAndExcite2D")
}


def pyramid(
    image: keras.KerasTensor,
    backbone: str | keras.Model,
    weights: PathLike | None = None,
    output_stride: int | None = None,
) -> Features:
    """Run `image` through a backbone and return its features by stride.

    The picture is normalised as the backbone's pretrained weights expect it and padded to a multiple of the
    coarsest stride, so every map has exactly `1/stride` of the padded size.

    Args:
        image: symbolic `(B, H, W, C)`, values 0–255; H and W may be `None`.
        backbone: one of `list_backbones()`; or a functional `keras.Model` that takes values 0–255,
            for instance a keras-cv or keras-hub backbone. One of keras-cv is copied, down to the layers of
            Keras, so that what is saved loads without keras-cv; its MiT is used as it is, at a static
            square size, and does not come back from a saved file (its layers' configs do not rebuild them).
        weights: `None`, `"imagenet"` (keras.applications only, downloaded by Keras, which checks the hash
            where it knows one), or the path of a `.weights.h5` file saved from the same backbone. Where C
            is not 3, the first convolution of weights for 3 channels is adapted, see
            `kseg.encoders.weights`.
        output_stride: 8, 16 or 32, the coarsest stride. What comes after it is dilated instead, so the
            pretrained weights stay right; memory and time grow. A `keras.Model` is then copied, with weights.
            `None`: as the backbone is.

    Returns:
        dict `{stride: (B, H/stride, W/stride, c)}`, strides ascending. At each stride it is the last tensor
        before the next halving; at `output_stride` the deepest of all. The others of that size: `stages`.

    Raises:
        ValueError: for an unknown name, for weights that do not fit, for a model without a pyramid, for a
            layer that cannot be dilated.
        TypeError: if `backbone` is neither a name nor a functional `keras.Model`.
    """
    found = stages(image, backbone, weights, output_stride)
    return {min(stride, output_stride or 32): tensor for stride, tensor in found.items()}


def stages(
    image: keras.KerasTensor,
    backbone: str | keras.Model,
    weights: PathLike | None = None,
    output_stride: int | None = None,
) -> Features:
    """Return the features of a backbone by the stride that each stage has in the untouched network.

    As `pyramid`, but at `output_stride=8` the stages 8, 16 and 32 all have 1/8 of the padded size and none
    hides another: an auxiliary head belongs on stage 16, PSPNet's pyramid pooling on stage 32.
    """
    if output_stride is not None:
        check_choice("output_stride", output_stride, (8, 16, 32))
    least, output_stride = output_stride or 1, output_stride or 32
    if isinstance(backbone, str):
        inputs, tensors, normalization = build_named(backbone, image.shape[-1], weights, output_stride)
        image, name = normalization(image), backbone
    elif isinstance(backbone, keras.Model) and hasattr(backbone, "operations"):
        if weights is not None:
            raise ValueError(
                "backbone_weights needs a named backbone; load weights into your keras.Model itself"
            )
        inputs, tensors, name = backbone.inputs, levels(backbone), backbone.name
        flatten = _of_keras_cv(backbone)
        if max(tensors) > output_stride or flatten:
            rebuilt = Rebuild(backbone, output_stride, flatten=flatten)
            inputs = [rebuilt.inputs]
            tensors = {stride: rebuilt.tensors[id(tensor)] for stride, tensor in tensors.items()}
    else:
        raise TypeError(
            f"backbone must be None, a name or a functional keras.Model, got {type(backbone).__name__}; "
            f"known names: {', '.join(list_backbones())}"
        )
    if max(tensors) < least:
        raise ValueError(
            f"backbone {name!r} has feature maps at strides {sorted(tensors)}, none at output_stride={least} "
            "or beyond; a picture of a fixed size must be a multiple of the strides"
        )
    channels = inputs[0].shape[-1]
    if channels not in (None, image.shape[-1]):
        raise ValueError(
            f"backbone {name!r} takes pictures of {channels} channels, input_shape has {image.shape[-1]}"
        )
    extractor = keras.Model(inputs, list(tensors.values()), name=name)
    padded = PadToMultiple(min(max(tensors), output_stride), name="pad")(image)
    return dict(zip(tensors, extractor(padded), strict=True))


def _of_keras_cv(model):
    """Tell whether a saved model would need keras-cv, which `import kseg` does not load, without necessity.

    Those of its layers that are made of Keras' layers can be taken apart; MiT's attention cannot.
    """
    kinds = {type(layer) for layer in layers_inside(model, with_models=True)}
    names = {kind.__name__ for kind in kinds if kind.__module__.startswith("keras_cv.")}
    return type(model).__module__.startswith("keras_cv.") and names <= _COMPOSITES
