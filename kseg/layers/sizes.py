"""Resize, pad and crop, for sizes known while the graph is built and for sizes that are not."""

from typing import Any, Literal

import keras
from keras import ops

from kseg.layers.common import known_size, register
from kseg.types import Size, Tensor


def resize(
    inputs: Tensor,
    size: Size,
    interpolation: Literal["bilinear", "nearest"],
    training: bool | None = None,
) -> Tensor:
    """Resize `(B, h, w, C)` to `size`, half-pixel centres, in the dtype of `inputs`.

    `training` asks for operations whose gradients XLA has too; the values are the same.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.image.resize(inputs, size, interpolation=interpolation)
    import tensorflow as tf  # keras.ops.image.resize fails on sizes known only at run time

    if training and interpolation == "nearest":  # XLA lacks ResizeNearestNeighborGrad
        for axis, side in enumerate(size, start=1):
            inputs = tf.gather(inputs, _nearest(tf.shape(inputs)[axis], side), axis=axis)
        return inputs
    x = inputs
    if interpolation == "bilinear":  # as it does inside; of half precision XLA's gradient has the wrong dtype
        x = tf.cast(inputs, "float32")
    return tf.cast(tf.image.resize(x, size, method=interpolation), inputs.dtype)


def _nearest(count, size):
    """Return which of `count` pixels lies nearest to each of `size`, rounded as `tf.image.resize` does."""
    scale = ops.cast(count, "float32") / ops.cast(size, "float32")
    places = (ops.arange(size, dtype="float32") + 0.5) * scale
    return ops.minimum(ops.cast(ops.floor(places), "int32"), count - 1)


@register
class Upsample(keras.layers.Layer):
    """Multiply height and width by `factor`.

    Pixels are squares with their centre at one half, the convention of `tf.image.resize` and of
    `align_corners=False` elsewhere. `keras.layers.UpSampling2D` is no substitute: bilinear, it does not
    export with `None` sizes; nearest, it lowers to reshapes and tiles on a phone instead of one resize.

    Args:
        factor: how many times as large the result is.
        interpolation: `"bilinear"` or `"nearest"`.

    Call arguments:
        inputs: `(B, H, W, C)`, any float dtype.
        training: whether a gradient is asked for that XLA can compile; it changes no value.

    Returns:
        `(B, factor * H, factor * W, C)` in the dtype of `inputs`.
    """

    keeps_scores = True  # what `kseg.graphs` asks of a layer
    enlarges_scores = True

    def __init__(
        self, factor: int = 2, interpolation: Literal["bilinear", "nearest"] = "bilinear", **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.factor = factor
        self.interpolation = interpolation

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        if training and self.interpolation == "nearest":  # XLA lacks the gradient of the resize
            return ops.repeat(ops.repeat(inputs, self.factor, axis=1), self.factor, axis=2)
        height, width = ops.shape(inputs)[1:3]
        return resize(inputs, (height * self.factor, width * self.factor), self.interpolation)

    def compute_output_spec(self, inputs: Tensor, training: bool | None = None) -> keras.KerasTensor:
        size = [None if side is None else side * self.factor for side in inputs.shape[1:3]]
        return keras.KerasTensor((inputs.shape[0], *size, inputs.shape[3]), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor, "interpolation": self.interpolation}


@register
class ResizeLike(keras.layers.Layer):
    """Resize the first tensor to the height and width of the second, half-pixel centres as `Upsample`.

    Args:
        interpolation: `"bilinear"` or `"nearest"`.

    Call arguments:
        inputs: `(B, h, w, C)`, any float dtype.
        reference: `(B, H, W, ...)`; only its size is read.
        training: as of `Upsample`.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.
    """

    def __init__(self, interpolation: Literal["bilinear", "nearest"] = "bilinear", **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.interpolation = interpolation

    def call(self, inputs: Tensor, reference: Tensor, training: bool | None = None) -> Tensor:
        size = known_size(reference)
        if size is not None and size == known_size(inputs):
            return inputs
        return resize(inputs, size or ops.shape(reference)[1:3], self.interpolation, training)

    def compute_output_spec(
        self, inputs: Tensor, reference: Tensor, training: bool | None = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], *reference.shape[1:3], inputs.shape[3]), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "interpolation": self.interpolation}


@register
class PadToMultiple(keras.layers.Layer):
    """Pad zeros at the bottom and the right until height and width are multiples of `multiple`.

    A network that halves its maps n times keeps every level aligned on sizes that 2^n divides, so one pad
    at the input and one `CropLike` at the output serve all sizes.

    Args:
        multiple: pixels.

    Call arguments:
        inputs: `(B, H, W, C)`.

    Returns:
        `(B, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple, C)` in the dtype of `inputs`.
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.multiple = multiple

    def call(self, inputs: Tensor) -> Tensor:
        shape = ops.shape(inputs)
        # of positive numbers alone: ONNX takes the remainder of a negative one for negative
        bottom, right = ((self.multiple - side % self.multiple) % self.multiple for side in shape[1:3])
        if isinstance(bottom, int) and isinstance(right, int) and bottom == right == 0:
            return inputs
        if keras.backend.backend() != "tensorflow":
            return ops.pad(inputs, ((0, 0), (0, bottom), (0, right), (0, 0)))
        import tensorflow as tf  # keras.ops.pad wants sizes known while the graph is built

        return tf.pad(inputs, [[0, 0], [0, bottom], [0, right], [0, 0]])

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        padded = [None if size is None else size + -size % self.multiple for size in inputs.shape[1:3]]
        return keras.KerasTensor((inputs.shape[0], *padded, inputs.shape[3]), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple}


@register
class CropLike(keras.layers.Layer):
    """Cut the first tensor, from its top left corner, to the height and width of the second.

    Args:
        centered: cuts as much from each side instead; the difference must then be even.

    Call arguments:
        inputs: `(B, h, w, C)` with `h >= H` and `w >= W`.
        reference: `(B, H, W, ...)`; only its size is read.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.

    Raises:
        ValueError: where `centered` and a known difference is odd.
    """

    keeps_scores = True  # what `kseg.graphs` asks of a layer

    def __init__(self, centered: bool = False, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.centered = centered

    @property
    def scores_only_centre(self) -> bool:
        """Whether what passes is the middle of the picture."""
        return self.centered

    def call(self, inputs: Tensor, reference: Tensor) -> Tensor:
        size, found = known_size(reference), known_size(inputs)
        if size is not None and size == found:
            return inputs
        height, width = ops.shape(reference)[1:3]
        if not self.centered:
            return inputs[:, :height, :width, :]
        if (
            size is not None
            and found is not None
            and any((a - b) % 2 for a, b in zip(found, size, strict=True))
        ):
            raise ValueError(
                f"cannot cut {found} to {size} about its centre: choose a picture of which every level "
                f"halves evenly, see the builder's Args"
            )
        top, left = [(a - b) // 2 for a, b in zip(ops.shape(inputs)[1:3], (height, width), strict=True)]
        return inputs[:, top : top + height, left : left + width, :]

    def compute_output_spec(self, inputs: Tensor, reference: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], *reference.shape[1:3], inputs.shape[3]), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "centered": self.centered}
