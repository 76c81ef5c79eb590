"""A convolution of joined maps, the small ones among them convolved first, then enlarged and added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kseg.layers.sizes import resize
from kseg.types import Size, Tensor


@dataclass(frozen=True)
class Enlarging:
    """How a map `(1, h, w, c)` is enlarged: to `resized` by `method`, and then cut to `size`."""

    tensor: keras.KerasTensor
    resized: Size
    method: str
    size: Size

    def is_saving(self, conv: keras.layers.Conv2D) -> bool:
        """Tell if convolving the map as it is takes less than half of the products, enlarging included."""
        (_, h, w, depth), (height, width), (above, beside) = self.tensor.shape, self.size, conv.kernel_size
        if above * beside == 1 and h * w > 1 and conv.filters > depth:
            return False  # more channels would be enlarged than before
        if above * beside == 1:
            enlarging = height * width * (1 if h * w == 1 else 4)
        else:
            enlarging = above * h * width * (beside * w + height)
        taps = above * beside * depth
        return 2 * (h * w * taps + enlarging) < height * width * taps


class SplitConvolution(keras.layers.Layer):
    """A convolution of maps that are joined, which enlarges some of them after it.

    Args:
        kernel: array `(k, m, C, filters)`, C the channels of all maps.
        bias: array `(filters,)`.
        ways: list, an `Enlarging` or `None` per map.
        dilation_rate: `(int, int)`.
        activation: function.
        name: str.

    Call arguments:
        inputs: list of `(1, H, W, c)`, or `(1, h, w, c)` of a map that is enlarged.

    Returns:
        `(1, H, W, filters)`.
    """

    def __init__(
        self,
        kernel: np.ndarray,
        bias: np.ndarray,
        ways: Sequence[Enlarging | None],
        dilation_rate: tuple[int, int],
        activation: Callable[[Tensor], Tensor],
        name: str,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.values = (kernel, bias)
        self.ways, self.dilation_rate, self.activation = ways, dilation_rate, activation

    def with_values(self, kernel: np.ndarray, bias: np.ndarray) -> SplitConvolution:
        return SplitConvolution(kernel, bias, self.ways, self.dilation_rate, self.activation, self.name)

    def build(self, shapes: Sequence[tuple[int, ...]]) -> None:
        borders = np.cumsum([shape[-1] for shape in shapes])[:-1]
        slices = np.split(self.values[0], borders, axis=2)
        whole = [each for each, how in zip(slices, self.ways, strict=True) if how is None]
        self.kernel = self._constant("kernel", np.concatenate(whole, axis=2))
        self.bias = self._constant("bias", self.values[1])
        self.small = [
            None if how is None else self._constant(f"kernel{number}", _taps_apart(each))
            for number, (each, how) in enumerate(zip(slices, self.ways, strict=True))
        ]

    def _constant(self, name, values):
        return self.add_weight(name=name, shape=values.shape, initializer=lambda *_, **__: values)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        whole = [each for each, how in zip(inputs, self.ways, strict=True) if how is None]
        x = tf.concat(whole, -1) if len(whole) > 1 else whole[0]
        x = tf.nn.conv2d(x, self.kernel, 1, "SAME", dilations=self.dilation_rate) + self.bias
        small = [each for each in zip(inputs, self.small, self.ways, strict=True) if each[2] is not None]
        taps = self.values[0].shape[:2]
        if taps == (1, 1):
            enlarged = [_enlarge(tf.nn.conv2d(each, kernel, 1, "VALID"), how) for each, kernel, how in small]
        else:
            enlarged = [_enlarge_taps(small, taps, self.dilation_rate)]
        for each in enlarged:
            x += each
        return self.activation(x)

    def compute_output_spec(self, inputs: Sequence[Tensor]) -> keras.KerasTensor:
        size = next(each.size for each in self.ways if each is not None)
        return keras.KerasTensor((1, *size, len(self.values[1])), "float32")


def _enlarge(x, how):
    """Enlarge a map of which each pixel was convolved; one pixel is spread by the sum it is added to."""
    if x.shape[1:3] == (1, 1):
        return x
    return resize(x, how.resized, how.method)[:, : how.size[0], : how.size[1]]


def _taps_apart(kernel):
    """`(k, m, c, filters)` → `(1, 1, c, k * filters * m)`: one pixel to what each tap makes of it."""
    k, m, depth, filters = kernel.shape
    return kernel.transpose(2, 0, 3, 1).reshape(1, 1, depth, k * filters * m)


def _enlarge_taps(small, taps, rate):
    """Sum maps that are enlarged and convolved: what each tap makes of a pixel, then rows, then columns.

    Tap t of an enlarged row reads its pixel x + t, a mean of pixels of the small row: one matrix for all x
    and t, and one for columns. They are kernels of 1×1 and the batch stays 1, which accelerators ask for.

    Args:
        small: list of `(map (1, h, w, c), kernel of _taps_apart, Enlarging)`.
        taps: `(k, m)` of the kernel.
        rate: `(int, int)`, its dilation.
    """
    (k, m), (height, width) = taps, small[0][2].size
    filters = small[0][1].shape[-1] // (k * m)
    rows, matrices = [], []
    for x, kernel, how in small:
        _, h, w, _ = x.shape
        x = tf.transpose(tf.nn.conv2d(x, kernel, 1, "VALID"), (0, 1, 3, 2))  # (1, h, k * filters * m, w)
        x = tf.reshape(x, (1, h * k * filters, 1, m * w))
        along_row = _matrix(w, how.resized[1], width, how.method, m, rate[1])
        x = tf.nn.conv2d(x, along_row.reshape(1, 1, m * w, width), 1, "VALID")
        rows.append(tf.reshape(x, (1, 1, h * k, filters * width)))
        down = _matrix(h, how.resized[0], height, how.method, k, rate[0])
        matrices.append(down.swapaxes(0, 1).reshape(h * k, height))
    x = tf.transpose(tf.concat(rows, 2), (0, 1, 3, 2))  # (1, 1, filters * W, sum of h * k)
    x = tf.nn.conv2d(x, np.concatenate(matrices)[None, None], 1, "VALID")
    return tf.transpose(tf.reshape(x, (1, filters, width, height)), (0, 3, 2, 1))


def _matrix(count, resized, size, method, taps, rate):
    """Return what each tap at each of `size` places has of each of `count` pixels: `(taps, count, size)`."""
    with tf.init_scope():
        pixels = resize(tf.eye(count)[None, :, None], (resized, 1), method)[0, :size, 0].numpy()
    reach = rate * (taps - 1)
    padded = np.pad(pixels, ((reach // 2, reach - reach // 2), (0, 0)))  # (size + reach, count)
    return np.stack([padded[tap * rate :][:size].T for tap in range(taps)])
