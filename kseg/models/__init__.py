"""The architectures: one file each, one builder each."""

import inspect
from collections.abc import Callable
from typing import Any

import keras

from kseg.checks import unknown_name
from kseg.encoders import list_backbones
from kseg.models.conv_stack import build_conv_stack
from kseg.models.ddrnet import build_ddrnet
from kseg.models.deeplabv1 import build_deeplabv1
from kseg.models.deeplabv2 import build_deeplabv2
from kseg.models.deeplabv3 import build_deeplabv3
from kseg.models.deeplabv3plus import build_deeplabv3plus
from kseg.models.dilatednet import build_dilatednet
from kseg.models.encoder_decoder import build_encoder_decoder
from kseg.models.fcn import build_fcn
from kseg.models.pspnet import build_pspnet
from kseg.models.segnet import build_segnet
from kseg.models.unet import build_unet
from kseg.types import InputShape

_BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "conv_stack": build_conv_stack,
    "ddrnet": build_ddrnet,
    "deeplabv1": build_deeplabv1,
    "deeplabv2": build_deeplabv2,
    "deeplabv3": build_deeplabv3,
    "deeplabv3plus": build_deeplabv3plus,
    "dilatednet": build_dilatednet,
    "encoder_decoder": build_encoder_decoder,
    "fcn": build_fcn,
    "pspnet": build_pspnet,
    "segnet": build_segnet,
    "unet": build_unet,
}

__all__ = ["build", *(f"build_{name}" for name in _BUILDERS), "list_models"]


def list_models() -> list[str]:
    """Return the names that `kseg.build` takes, sorted.

    Example:
        >>> list_models()[:3]
        ['conv_stack', 'ddrnet', 'deeplabv1']
    """
    return sorted(_BUILDERS)


def build(
    model: str, num_classes: int, input_shape: InputShape = (None, None, 3), **kwargs: Any
) -> keras.Model:
    """Build an architecture by name: `build("unet", 5)` is `build_unet(5)`.

    Args:
        model: one of `list_models()`.
        num_classes: how many classes there are.
        input_shape: `(H, W, C)`.
        **kwargs: what that architecture's builder takes.

    Returns:
        `keras.Model`, see the builder.

    Raises:
        ValueError: for an unknown name (the nearest one is offered) or an argument out of range.
        TypeError: for an argument that the builder does not take.

    Example:
        >>> build("unet", 2, (32, 32, 3), filters=4).output_shape
        (None, 32, 32, 2)
    """
    check_build(model, **kwargs)
    return _BUILDERS[model](num_classes, input_shape, **kwargs)


def check_build(model: object, **kwargs: Any) -> None:
    """Raise as `build` does for an unknown model, argument or backbone, without building anything."""
    if not isinstance(model, str) or model not in _BUILDERS:
        raise unknown_name("model", model, _BUILDERS)
    parameters = builder_parameters(model)
    for name in kwargs:
        if name not in parameters:
            raise TypeError(f"model {model!r} takes no argument {name!r}; it takes {', '.join(parameters)}")
    if isinstance(kwargs.get("backbone"), str) and kwargs["backbone"] not in list_backbones():
        raise unknown_name("backbone", kwargs["backbone"], list_backbones())


def builder_parameters(model: str) -> list[str]:
    """Return the names of the arguments that the builder of a model takes."""
    return list(inspect.signature(_BUILDERS[model]).parameters)
