"""What the layers share."""

from typing import TypeVar

import keras

from kseg.types import Size, Tensor

Layer = TypeVar("Layer", bound=keras.layers.Layer)


def known_size(tensor: Tensor) -> Size | None:
    """Return `(H, W)` when both are known while the graph is built, else `None`."""
    height, width = tensor.shape[1:3]
    return None if height is None or width is None else (int(height), int(width))


def register(layer: type[Layer]) -> type[Layer]:
    return keras.saving.register_keras_serializable(package="kseg")(layer)
