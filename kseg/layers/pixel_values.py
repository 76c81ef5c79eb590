"""What the files of a model's pictures hold for black and white, kept in the model itself."""

from typing import Any

import keras

from kseg.layers.common import register
from kseg.types import Tensor
from kseg.value_range import checked_stated


@register
class PixelValues(keras.layers.Layer):
    """Pass pictures on as they are, and keep how their files become values 0–255.

    The model takes 0–255 with it and without it. What reads picture files for a model (`kseg.predict`,
    `kseg evaluate`, the exports) asks this layer, so that nobody has to repeat the range.
    `kseg.with_value_range` puts it first.

    Args:
        value_range: `(low, high)`, what the files hold for black and for white, each a number or one per
            channel.

    Call arguments:
        inputs: `(B, H, W, C)`, values 0–255.

    Returns:
        `inputs`.

    Raises:
        ValueError: if `value_range` is no range.

    Example:
        >>> layer = PixelValues((0, 4095))
        >>> layer.get_config()["value_range"]
        [0.0, 4095.0]
    """

    def __init__(self, value_range: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)  # a picture loses no digits here, whatever the policy
        self.value_range = checked_stated(value_range)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self) -> dict:
        return {**super().get_config(), "value_range": self.value_range.as_config()}
