"""Backbones by name: keras.applications' and keras-cv's own code, rebuilt for dense prediction.

Not among them: InceptionV3, InceptionResNetV2 and NASNet, whose VALID convolutions leave no exact strides;
ConvNeXtXLarge, for its 350 million parameters; keras-cv's ResNet, DenseNet, MobileNetV3 and EfficientNet,
which keras.applications has with weights (built by hand, they serve as `backbone=` all the same).

Xception's stem is VALID as well, and alone in that: here it is SAME, with the same weights, so maps are
exact and the pixels near the picture's border differ from Keras' own.
"""

import fnmatch
import functools
import warnings
from typing import Literal, NamedTuple, overload

import keras
from keras import layers

from kseg.checks import unknown_name
from kseg.encoders.copying import fused_norms
from kseg.encoders.dilation import Rebuild
from kseg.encoders.strides import levels
from kseg.encoders.weights import load_file, load_imagenet, normalization_for, swap_red_and_blue, transfer
from kseg.types import Features, PathLike

# family: (what its weights expect, {name: function of keras.applications})
_FAMILIES = {
    "resnet": ("caffe", {"resnet50": "ResNet50", "resnet101": "ResNet101", "resnet152": "ResNet152"}),
    "resnet_v2": (
        "unit",
        {"resnet50_v2": "ResNet50V2", "resnet101_v2": "ResNet101V2", "resnet152_v2": "ResNet152V2"},
    ),
    "vgg": ("caffe", {"vgg16": "VGG16", "vgg19": "VGG19"}),
    "densenet": (
        "standardized",
        {"densenet121": "DenseNet121", "densenet169": "DenseNet169", "densenet201": "DenseNet201"},
    ),
    "mobilenet": ("unit", {"mobilenet": "MobileNet", "mobilenet_v2": "MobileNetV2"}),
    "mobilenet_v3": (
        "unit",
        {"mobilenet_v3_small": "MobileNetV3Small", "mobilenet_v3_large": "MobileNetV3Large"},
    ),
    "efficientnet": ("standardized", {f"efficientnet_b{n}": f"EfficientNetB{n}" for n in range(8)}),
    "efficientnet_v2_b": ("standardized", {f"efficientnet_v2_b{n}": f"EfficientNetV2B{n}" for n in range(4)}),
    "efficientnet_v2": ("centred", {f"efficientnet_v2_{n.lower()}": f"EfficientNetV2{n}" for n in "SML"}),
    "convnext": (
        "standardized",
        {f"convnext_{n.lower()}": f"ConvNeXt{n}" for n in ("Tiny", "Small", "Base", "Large")},
    ),
    "xception": ("unit", {"xception": "Xception"}),
}
_WITHOUT_PREPROCESSING = ("mobilenet_v3", "efficientnet_v2", "efficientnet_v2_b", "convnext")

# keras-cv's CSPDarkNet (YOLOX widths and depths): name: (channels, depths)
_CSP_DARKNETS = {
    "csp_darknet_tiny": ((48, 96, 192, 384), (1, 3, 3, 1)),
    "csp_darknet_s": ((64, 128, 256, 512), (1, 3, 3, 1)),
    "csp_darknet_m": ((96, 192, 384, 768), (2, 6, 6, 2)),
    "csp_darknet_l": ((128, 256, 512, 1024), (3, 9, 9, 3)),
}


class Backbone(NamedTuple):
    """One row of `list_backbones(details=True)`."""

    name: str
    parameters: int
    channels: dict[int, int]
    weights: str | None


class Table(list[Backbone]):
    """A list whose rows print one a line."""

    def __str__(self) -> str:
        rows = [(row.name, f"{row.parameters:,}", str(row.channels), row.weights or "-") for row in self]
        rows.insert(0, ("name", "parameters", "{stride: channels}", "weights"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        first, second, third, _ = widths
        lines = (f"{a:<{first}}  {b:>{second}}  {c:<{third}}  {d}" for a, b, c, d in rows)
        return "\n".join(lines)


@overload
def list_backbones(pattern: str = "*", details: Literal[False] = False) -> list[str]: ...


@overload
def list_backbones(pattern: str = "*", *, details: Literal[True]) -> Table: ...


def list_backbones(pattern: str = "*", details: bool = False) -> list[str] | Table:
    """Return the names that `backbone=` takes, sorted.

    Args:
        pattern: names to keep, as in a shell: `"resnet*"`.
        details: `True` gives a table to print or to read row by row: parameters of the encoder,
            channels of its features by stride, and whether Keras has weights for it. Each backbone is
            built to count, one to ten seconds a name.

    Returns:
        list of str; with `details` a list of rows `(name, parameters, channels, weights)`.

    Example:
        >>> list_backbones("resnet*")[:3]
        ['resnet101', 'resnet101_v2', 'resnet152']
        >>> print(list_backbones("vgg16", details=True))
        name   parameters  {stride: channels}                          weights
        vgg16  14,714,688  {2: 128, 4: 256, 8: 512, 16: 512, 32: 512}  imagenet
    """
    names = sorted([name for _, members in _FAMILIES.values() for name in members] + list(_CSP_DARKNETS))
    names = fnmatch.filter(names, pattern)
    return Table(_details(name) for name in names) if details else names


def _details(name):
    original = _original(name, _family(name), 3, None)
    tensors = levels(original)
    encoder = keras.Model(original.inputs, list(tensors.values()))
    counted = [
        layer for layer in encoder.layers if not isinstance(layer, layers.Normalization)
    ]  # ours is free
    channels = {stride: tensor.shape[-1] for stride, tensor in tensors.items()}
    parameters = sum(layer.count_params() for layer in counted)
    return Backbone(name, parameters, channels, "imagenet" if _family(name) else None)


def _family(name):
    return next((family for family, (_, names) in _FAMILIES.items() if name in names), None)


def build_named(
    name: str, channels: int, weights: PathLike | None, output_stride: int
) -> tuple[list[keras.KerasTensor], Features, keras.Layer]:
    """Return the input, `{stride: tensor}` of a backbone by name, and its normalisation of values 0–255."""
    family = _family(name)
    if family is None and name not in _CSP_DARKNETS:
        raise unknown_name("backbone", name, list_backbones())
    expects = _FAMILIES[family][0] if family else "unit"
    original = _original(name, family, channels, weights)
    momentum = 0.9 if weights is None else 0.99
    rebuilt = Rebuild(original, output_stride, copy=_copier(family, momentum), flatten=family is None)
    tensors = {stride: rebuilt.tensors[id(tensor)] for stride, tensor in levels(original).items()}
    return [rebuilt.inputs], tensors, normalization_for(expects, channels)


def _original(name, family, channels, weights):
    """Return the library's own model; its weights expect RGB."""
    make = functools.partial(_application, name, family) if family else functools.partial(_csp_darknet, name)
    if weights is None:
        return make(channels, None)
    if weights != "imagenet":
        return load_file(make, channels, weights)
    if family is None:
        raise ValueError(f"backbone {name!r} has no 'imagenet' weights; use None or the path of a file")
    original = load_imagenet(make, name)
    if _FAMILIES[family][0] == "caffe":
        swap_red_and_blue(original)
    if channels == 3:
        return original
    model = make(channels, None)
    transfer(original, model)
    return model


def _application(name, family, channels, weights):
    kwargs = {"include_top": False, "input_shape": (None, None, channels)}
    if family in _WITHOUT_PREPROCESSING:
        kwargs["include_preprocessing"] = False  # ours serves any number of channels
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        model = getattr(keras.applications, _FAMILIES[family][1][name])(weights=weights, **kwargs)
    if family == "xception":  # its stem is VALID: maps would be 1 to 3 pixels short of an exact stride
        for stem in ("block1_conv1", "block1_conv2"):
            model.get_layer(stem).padding = "same"
    return model


def _csp_darknet(name, channels, weights):
    import keras_cv  # imports slowly, prints, and is needed here alone

    widths, depths = _CSP_DARKNETS[name]
    return keras_cv.models.CSPDarkNetBackbone(
        stackwise_channels=list(widths),
        stackwise_depth=list(depths),
        include_rescaling=False,
        input_shape=(None, None, channels),
        name=name,
    )


def _copier(family, momentum):
    """Return the function that copies a layer of this family."""
    copy = fused_norms(momentum)

    def efficientnet(layer, name):  # its own scaling would come after ours
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            return layers.Identity(name=name)
        return copy(layer, name)

    return efficientnet if family == "efficientnet" else copy
