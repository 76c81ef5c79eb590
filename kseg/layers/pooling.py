"""Pools that stock Keras lacks: with indices and their inverse, into a number of bins, with holes."""

from typing import Any, Literal

import keras
from keras import ops

from kseg.checks import check_choice
from kseg.layers.common import known_size, register
from kseg.types import Size, Tensor

_ROUNDING = 1e-4  # of features near 1


def _repeat_last_if_odd(x, axis):
    """Append a copy of the last row (axis 1) or column (axis 2) where their number is odd."""
    size = ops.shape(x)[axis]
    if isinstance(size, int) and size % 2 == 0:
        return x
    start = size - size % 2  # for sizes known only at run time the slice is empty or one
    return ops.concatenate([x, x[:, start:] if axis == 1 else x[:, :, start:]], axis=axis)


@register
class MaxPoolWithIndices(keras.layers.Layer):
    """2×2 max pooling that tells which of the four cells held the maximum, the first where several do.

    Cells within 1e-4 of it count as equal: in flat areas they are, but for rounding, which no two machines do
    alike. Odd sides are rounded up. The indices are a boolean mask made of comparisons, which phones run as
    builtin operators and which stays exact in int8; `tf.nn.max_pool_with_argmax` cannot be exported.

    Call arguments:
        inputs: `(B, H, W, C)`.

    Returns:
        the maxima `(B, ceil(H/2), ceil(W/2), C)` in the dtype of `inputs`, and the mask
        `(B, ceil(H/2), ceil(W/2), 4 * C)`, bool: blocks of C for the cells top left, top right, bottom left,
        bottom right.
    """

    pool_size = 2
    rounds_indices = True  # what `kseg.graphs` asks of a layer

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        x = _repeat_last_if_odd(_repeat_last_if_odd(inputs, 1), 2)
        cells = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        pooled = ops.max_pool(x, 2, strides=2)  # Keras cannot default the strides under JAX
        equal = [ops.greater_equal(cell - pooled, -_ROUNDING) for cell in cells]
        masks, free = [equal[0]], ops.logical_not(equal[0])  # free: no earlier cell held the maximum
        for found in equal[1:]:
            masks.append(ops.logical_and(found, free))
            free = ops.logical_and(free, ops.logical_not(found))
        return pooled, ops.concatenate(masks, axis=-1)

    def compute_output_spec(self, inputs: Tensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        size = [None if side is None else -(-side // 2) for side in inputs.shape[1:3]]
        batch, channels = inputs.shape[0], inputs.shape[3]
        return (
            keras.KerasTensor((batch, *size, channels), self.compute_dtype),
            keras.KerasTensor((batch, *size, 4 * channels), "bool"),
        )


@register
class MaxUnpool(keras.layers.Layer):
    """Put each value back into the one cell of four that held the maximum, zeros into the other three.

    Call arguments:
        inputs: `(B, h, w, C)`.
        mask: `(B, h, w, 4 * C)` of `MaxPoolWithIndices`.
        reference: `(B, H, W, ...)`, what was pooled; only its size is read.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.
    """

    def call(self, inputs: Tensor, mask: Tensor, reference: Tensor) -> Tensor:
        spread = ops.where(mask, ops.concatenate([inputs] * 4, axis=-1), ops.zeros((), inputs.dtype))
        x = ops.depth_to_space(spread, 2)  # (B, 2h, 2w, C)
        size = known_size(reference)
        if size is not None and size == known_size(x):
            return x
        height, width = ops.shape(reference)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, inputs: Tensor, mask: Tensor, reference: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(
            (inputs.shape[0], *reference.shape[1:3], inputs.shape[3]), self.compute_dtype
        )


@register
class BinPooling(keras.layers.Layer):
    """Average the map in `bins` × `bins` windows that cover it, whatever its size.

    Window i runs from `floor(i * n / bins)` to `ceil((i + 1) * n / bins)`, PyTorch's adaptive average
    pooling. Windows overlap where `bins` does not divide the size, also where the map has fewer pixels than
    bins. Rows first, then columns: products with matrices of averages in training and for sizes known only
    at run time; else means of slices, which LiteRT runs 3 to 9 times faster.

    Args:
        bins: windows along each side.

    Call arguments:
        inputs: `(B, H, W, C)`, any float dtype.

    Returns:
        `(B, bins, bins, C)` in the dtype of `inputs`.
    """

    def __init__(self, bins: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.bins = bins

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if self.bins == 1:
            return ops.mean(inputs, axis=(1, 2), keepdims=True)
        if training or known_size(inputs) is None:  # a slice's gradient is a whole map of zeros
            return self._by_products(inputs)
        return self._by_slices(self._by_slices(inputs, 1), 2)

    def _windows(self, size):
        for number in range(self.bins):
            yield number * size // self.bins, ((number + 1) * size + self.bins - 1) // self.bins

    def _by_slices(self, x, axis):
        slices = [
            x[:, start:end] if axis == 1 else x[:, :, start:end]
            for start, end in self._windows(x.shape[axis])
        ]
        return ops.concatenate([ops.mean(part, axis=axis, keepdims=True) for part in slices], axis=axis)

    def _by_products(self, inputs):
        height, width = ops.shape(inputs)[1:3]
        channels = inputs.shape[-1]
        x = ops.cast(inputs, "float32")  # half precision would lose bits in long sums
        x = ops.matmul(self._averages(height), ops.reshape(x, (-1, height, width * channels)))
        x = ops.matmul(self._averages(width), ops.reshape(x, (-1, width, channels)))
        return ops.cast(ops.reshape(x, (-1, self.bins, self.bins, channels)), inputs.dtype)

    def _averages(self, size):
        """Return the `(bins, size)` matrix whose rows average one window each."""
        pixel, rows = ops.arange(size), []
        for start, end in self._windows(size):
            inside = ops.cast(ops.logical_and(pixel >= start, pixel < end), "float32")
            rows.append(inside / ops.sum(inside))
        return ops.stack(rows)

    def compute_output_spec(self, inputs: Tensor, training: bool = False) -> keras.KerasTensor:
        return keras.KerasTensor((inputs.shape[0], self.bins, self.bins, inputs.shape[3]), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bins": self.bins}


@register
class AtrousPooling2D(keras.layers.Layer):
    """Max or average pooling at stride 1 whose window has holes: what a strided network's pool becomes
    when its stride turns into dilation. Keras' pools cannot dilate.

    What the window covers outside the map does not count, neither for the maximum nor for the average,
    as in Keras' pools with `padding="same"`. No value is invented for it, so int8 ranges stay right.

    Args:
        pool_size: int or `(rows, columns)`, pixels that the window reads.
        dilation_rate: distance of neighbours in the window, in pixels.
        begin: int or `(rows, columns)`, how far the window's first pixel lies before the output's; a
            multiple of `dilation_rate`, less than the window's reach.
        mode: `"max"` or `"average"`.

    Call arguments:
        inputs: `(B, H, W, C)`, any float dtype.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.
    """

    def __init__(
        self,
        pool_size: int | Size = 2,
        dilation_rate: int = 1,
        begin: int | Size = 0,
        mode: Literal["max", "average"] = "max",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("mode", mode, ("max", "average"))
        self.pool_size = (pool_size, pool_size) if isinstance(pool_size, int) else tuple(pool_size)
        self.dilation_rate = dilation_rate
        self.begin = (begin, begin) if isinstance(begin, int) else tuple(begin)
        for size, first in zip(self.pool_size, self.begin, strict=True):
            if first % dilation_rate or not 0 <= first <= (size - 1) * dilation_rate:
                raise ValueError(
                    f"begin must be a multiple of dilation_rate={dilation_rate} inside the window, "
                    f"got {begin}"
                )
        self.mode = mode

    def call(self, inputs: Tensor) -> Tensor:
        pool = self._maximum if self.mode == "max" else self._average
        for axis in (1, 2):
            first, rate = self.begin[axis - 1], self.dilation_rate
            shifts = [tap * rate - first for tap in range(self.pool_size[axis - 1])]
            inputs = pool(inputs, axis, [shift for shift in shifts if shift])
        return inputs

    def _maximum(self, x, axis, shifts):
        result = x
        for shift in shifts:  # where the neighbour is outside, the pixel itself stands in
            result = ops.maximum(result, _shifted(x, shift, axis, x))
        return result

    def _average(self, x, axis, shifts):
        one = ops.ones_like(x[:1, :, :1, :1] if axis == 1 else x[:1, :1, :, :1])
        total, count = x, one
        for shift in shifts:
            total = total + _shifted(x, shift, axis, ops.zeros_like(x))
            count = count + _shifted(one, shift, axis, ops.zeros_like(one))
        return total / count

    def compute_output_spec(self, inputs: Tensor) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("pool_size", "dilation_rate", "begin", "mode")}
        return {**super().get_config(), **own}


def _shifted(x, shift, axis, outside):
    """Return `x` with pixel i + shift at i along an axis; where that is none, pixel i of `outside`."""

    def part(tensor, start, stop):
        return tensor[:, start:stop] if axis == 1 else tensor[:, :, start:stop]

    size = ops.shape(x)[axis]
    inside = ops.maximum(size - abs(shift), 0) if not isinstance(size, int) else max(size - abs(shift), 0)
    if shift > 0:
        return ops.concatenate([part(x, shift, None), part(outside, inside, None)], axis=axis)
    return ops.concatenate([part(outside, None, -shift), part(x, None, inside)], axis=axis)
