"""Convolutions of enlarged maps, taken before the enlarging: the same scores from fewer products.

PSPNet joins its features with four maps of 1, 4, 9 and 36 pixels, each enlarged to the size of the features,
and convolves: half of the products are of the same 50 pixels again and again. A convolution is a sum over the
channels it reads, and enlarging is linear as well. So each small map is convolved as it is, tap by tap, and
what comes of it enlarged and added.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from kseg.layers import BatchNormalization, CropLike, ResizeLike, Upsample
from kseg.layers.sizes import resize


def split_convolutions(model, size):
    """Return the model for one picture, with the convolutions of enlarged maps split where it saves work.

    A batch normalisation that alone reads one goes into its kernel. The model itself stays as it is; it comes
    back if there is nothing to split, or if it holds a layer that cannot be copied.

    Args:
        model: float32 `keras.Model`.
        size: `(H, W)` of the picture.
    """
    if not any(_reads_enlarged(layer) for layer in model.layers):
        return model
    plain = keras.Model(model.input, model.output, name=model.name)  # how it was compiled is not copied
    image = keras.Input(batch_shape=(1, *size, model.input_shape[-1]), name="image")

    def call(layer, *given, **more):
        stands_for_it = None
        if isinstance(layer, keras.layers.Conv2D) and _reads_enlarged(model.get_layer(layer.name)):
            stands_for_it = _split(model.get_layer(layer.name), given[0])
        elif type(layer) in (keras.layers.BatchNormalization, BatchNormalization):
            stands_for_it = _normalized(model.get_layer(layer.name), given[0])
        return layer(*given, **more) if stands_for_it is None else stands_for_it

    try:
        clone = keras.models.clone_model(plain, input_tensors=image, clone_function=_copy, call_function=call)
    except _NoCopyError:
        return model
    for layer in clone.layers:
        if layer.weights and not isinstance(layer, _SplitConvolution):
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return clone


class _NoCopyError(Exception):
    """A layer has no config to make another from."""


def _copy(layer):
    try:
        return layer.__class__.from_config(layer.get_config())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise _NoCopyError from error


@dataclass(frozen=True)
class _Enlarged:
    """How a map `(1, h, w, c)` is enlarged: to `resized` by `method`, and then cut to `size`."""

    tensor: keras.KerasTensor
    resized: tuple
    method: str
    size: tuple

    def is_saving(self, conv):
        """Tell if convolving the map as it is takes less than half of the products, enlarging included."""
        (_, h, w, depth), (height, width), (above, beside) = self.tensor.shape, self.size, conv.kernel_size
        if above * beside == 1:
            enlarging = height * width * (1 if h * w == 1 else 4)
        else:
            enlarging = above * h * width * (beside * w + height)
        taps = above * beside * depth
        return 2 * (h * w * taps + enlarging) < height * width * taps


def _reads_enlarged(layer):
    """Tell if a layer is a convolution of joined maps of which some are enlarged and some are not."""
    if type(layer) is not keras.layers.Conv2D or len(layer._inbound_nodes) != 1:
        return False
    simple = layer.strides == (1, 1) and layer.groups == 1 and layer.data_format == "channels_last"
    fills = layer.padding == "same" or layer.kernel_size == (1, 1)
    return simple and fills and len({how is None for _, how in _joined(layer.input)}) == 2


def _joined(tensor):
    """Return what a concatenation of channels joins: tensors, each with `None` or how it is enlarged."""
    operation, inputs = _origin(tensor)
    if not isinstance(operation, keras.layers.Concatenate) or operation.axis not in (-1, 3):
        return [(tensor, None)]
    return [(each, _enlarging(each)) for each in inputs]


def _enlarging(tensor):
    resized = tensor
    operation, inputs = _origin(tensor)
    if isinstance(operation, CropLike) and not operation.centered:
        resized = inputs[0]
        operation, inputs = _origin(resized)
    if not isinstance(operation, ResizeLike | Upsample):
        return None
    return _Enlarged(inputs[0], tuple(resized.shape[1:3]), operation.interpolation, tuple(tensor.shape[1:3]))


def _origin(tensor):
    """Return the operation that a tensor comes from, and what that reads."""
    operation, node, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node].input_tensors


def _split(conv, joined):
    """Return what a convolution gives for the joined maps of the copy; `None` if that saves nothing."""
    parts = [(each, how if how and how.is_saving(conv) else None) for each, how in _joined(joined)]
    ways = [how for _, how in parts]
    if not any(ways):
        return None
    bias = conv.bias.numpy() if conv.use_bias else np.zeros(conv.filters, "float32")
    layer = _SplitConvolution(
        np.asarray(conv.kernel), bias, ways, conv.dilation_rate, conv.activation, name=conv.name
    )
    return layer([each if how is None else how.tensor for each, how in parts])


def _normalized(norm, tensor):
    """Return what a batch normalisation gives for a split convolution; `None` for other tensors."""
    layer, inputs = _origin(tensor)
    if not isinstance(layer, _SplitConvolution) or layer.activation is not keras.activations.linear:
        return None
    alone = len(norm._inbound_nodes) == 1 and len(_origin(norm.input)[0]._outbound_nodes) == 1
    if not alone or norm.axis not in (-1, 3):
        return None
    scale = 1 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma.numpy()
    bias = (layer.values[1] - norm.moving_mean.numpy()) * scale + (norm.beta.numpy() if norm.center else 0)
    return layer.with_values(layer.values[0] * scale, bias)(inputs)


class _SplitConvolution(keras.layers.Layer):
    """A convolution of maps that are joined, which enlarges some of them after it.

    Call arguments:
        inputs: list of `(1, H, W, c)`, or `(1, h, w, c)` of a map that is enlarged.

    Returns:
        `(1, H, W, filters)`.
    """

    def __init__(self, kernel, bias, ways, dilation_rate, activation, name):
        super().__init__(name=name, dtype="float32")
        self.values = (kernel, bias)
        self.ways, self.dilation_rate, self.activation = ways, dilation_rate, activation

    def with_values(self, kernel, bias):
        return _SplitConvolution(kernel, bias, self.ways, self.dilation_rate, self.activation, self.name)

    def build(self, shapes):
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

    def call(self, inputs):
        whole = [each for each, how in zip(inputs, self.ways, strict=True) if how is None]
        x = tf.concat(whole, -1) if len(whole) > 1 else whole[0]
        x = tf.nn.conv2d(x, self.kernel, 1, "SAME", dilations=self.dilation_rate) + self.bias
        small = [each for each in zip(inputs, self.small, self.ways, strict=True) if each[2] is not None]
        taps = self.values[0].shape[:2]
        if taps == (1, 1):
            enlarged = [_enlarged(tf.nn.conv2d(each, kernel, 1, "VALID"), how) for each, kernel, how in small]
        else:
            enlarged = [_enlarged_taps(small, taps, self.dilation_rate)]
        for each in enlarged:
            x += each
        return self.activation(x)

    def compute_output_spec(self, inputs):
        size = next(each.size for each in self.ways if each is not None)
        return keras.KerasTensor((1, *size, len(self.values[1])), "float32")


def _enlarged(x, how):
    """Enlarge a map of which each pixel was convolved; one pixel is spread by the sum it is added to."""
    if x.shape[1:3] == (1, 1):
        return x
    return resize(x, how.resized, how.method)[:, : how.size[0], : how.size[1]]


def _taps_apart(kernel):
    """`(k, m, c, filters)` → `(1, 1, c, k * filters * m)`: one pixel to what each tap makes of it."""
    k, m, depth, filters = kernel.shape
    return kernel.transpose(2, 0, 3, 1).reshape(1, 1, depth, k * filters * m)


def _enlarged_taps(small, taps, rate):
    """Sum maps that are enlarged and convolved: what each tap makes of a pixel, then rows, then columns.

    Tap t of an enlarged row reads its pixel x + t, a mean of pixels of the small row: one matrix for all x
    and t, and one for columns. They are kernels of 1×1 and the batch stays 1, which accelerators ask for.

    Args:
        small: list of `(map (1, h, w, c), kernel of _taps_apart, _Enlarged)`.
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
