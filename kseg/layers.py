"""Layers that stock Keras lacks: resize, pad and crop for static and for `None` sizes, a fused batch norm,
auxiliary heads."""

import keras
from keras import ops


def _known_size(tensor):
    """Return `(H, W)` when both are known while the graph is built, else `None`."""
    height, width = tensor.shape[1:3]
    return None if height is None or width is None else (int(height), int(width))


def _resize(inputs, size, interpolation):
    """Resize `(B, h, w, C)` to `size`, half-pixel centres, in the dtype of `inputs`."""
    if keras.backend.backend() != "tensorflow":
        return ops.image.resize(inputs, size, interpolation=interpolation)
    import tensorflow as tf  # keras.ops.image.resize fails on sizes known only at run time

    return tf.cast(tf.image.resize(inputs, size, method=interpolation), inputs.dtype)


def _register(layer):
    return keras.saving.register_keras_serializable(package="kseg")(layer)


@_register
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained by TensorFlow's fused kernel.

    Same arguments, weights and results. Keras computes the moments and the normalisation in separate steps
    and in float32; one kernel makes a training step of a U-Net a fifth to a third shorter. Anywhere else
    (other backends, inference, synchronised replicas, what the kernel lacks) it is Keras' own.
    """

    def call(self, inputs, training=None, mask=None):
        fused = (
            training
            and self.trainable
            and self.scale
            and self.center
            and not self.synchronized
            and not self.renorm
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.variable_dtype == "float32"
            and keras.backend.backend() == "tensorflow"
        )
        if not fused:
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf  # the kernel has no name in keras.ops

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.cast(self.gamma, "float32"),
            tf.cast(self.beta, "float32"),
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs, out_type=tf.int64) // inputs.shape[-1], variance.dtype)
        variance *= (count - 1) / count  # the kernel returns the unbiased estimate, Keras keeps the plain one
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1.0 - self.momentum))
        return outputs


@_register
class Upsample(keras.layers.Layer):
    """Multiply height and width by `factor`.

    Pixels are squares with their centre at one half, the convention of `tf.image.resize` and of
    `align_corners=False` elsewhere. `keras.layers.UpSampling2D` is no substitute: bilinear, it does not
    export with `None` sizes; nearest, it lowers to reshapes and tiles on a phone instead of one resize.

    Args:
        factor: int.
        interpolation: `"bilinear"` or `"nearest"`.

    Call arguments:
        inputs: `(B, H, W, C)`, any float dtype.

    Returns:
        `(B, factor * H, factor * W, C)` in the dtype of `inputs`.
    """

    def __init__(self, factor=2, interpolation="bilinear", **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.factor = factor
        self.interpolation = interpolation

    def call(self, inputs):
        height, width = ops.shape(inputs)[1:3]
        return _resize(inputs, (height * self.factor, width * self.factor), self.interpolation)

    def compute_output_spec(self, inputs):
        size = [None if side is None else side * self.factor for side in inputs.shape[1:3]]
        return keras.KerasTensor((inputs.shape[0], *size, inputs.shape[3]), inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "interpolation": self.interpolation}


@_register
class ResizeLike(keras.layers.Layer):
    """Resize the first tensor to the height and width of the second, half-pixel centres as `Upsample`.

    Args:
        interpolation: `"bilinear"` or `"nearest"`.

    Call arguments:
        inputs: `(B, h, w, C)`, any float dtype.
        reference: `(B, H, W, ...)`; only its size is read.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.
    """

    def __init__(self, interpolation="bilinear", **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.interpolation = interpolation

    def call(self, inputs, reference):
        size = _known_size(reference)
        if size is not None and size == _known_size(inputs):
            return inputs
        return _resize(inputs, size or ops.shape(reference)[1:3], self.interpolation)

    def compute_output_spec(self, inputs, reference):
        return keras.KerasTensor((inputs.shape[0], *reference.shape[1:3], inputs.shape[3]), inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "interpolation": self.interpolation}


@_register
class PadToMultiple(keras.layers.Layer):
    """Pad zeros at the bottom and the right until height and width are multiples of `multiple`.

    A network that halves its maps n times keeps every level aligned on sizes that 2^n divides, so one pad
    at the input and one `CropLike` at the output serve all sizes.

    Args:
        multiple: int, pixels.

    Call arguments:
        inputs: `(B, H, W, C)`.

    Returns:
        `(B, ceil(H / multiple) * multiple, ceil(W / multiple) * multiple, C)` in the dtype of `inputs`.
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.multiple = multiple

    def call(self, inputs):
        shape = ops.shape(inputs)
        bottom, right = (-shape[1] % self.multiple, -shape[2] % self.multiple)
        if isinstance(bottom, int) and isinstance(right, int) and bottom == right == 0:
            return inputs
        if keras.backend.backend() != "tensorflow":
            return ops.pad(inputs, ((0, 0), (0, bottom), (0, right), (0, 0)))
        import tensorflow as tf  # keras.ops.pad wants sizes known while the graph is built

        return tf.pad(inputs, [[0, 0], [0, bottom], [0, right], [0, 0]])

    def compute_output_spec(self, inputs):
        padded = [None if size is None else size + -size % self.multiple for size in inputs.shape[1:3]]
        return keras.KerasTensor((inputs.shape[0], *padded, inputs.shape[3]), inputs.dtype)

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@_register
class CropLike(keras.layers.Layer):
    """Cut the first tensor, from its top left corner, to the height and width of the second.

    Call arguments:
        inputs: `(B, h, w, C)` with `h >= H` and `w >= W`.
        reference: `(B, H, W, ...)`; only its size is read.

    Returns:
        `(B, H, W, C)` in the dtype of `inputs`.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs, reference):
        size = _known_size(reference)
        if size is not None and size == _known_size(inputs):
            return inputs
        height, width = ops.shape(reference)[1:3]
        return inputs[:, :height, :width, :]

    def compute_output_spec(self, inputs, reference):
        return keras.KerasTensor((inputs.shape[0], *reference.shape[1:3], inputs.shape[3]), inputs.dtype)


@_register
class AuxiliaryOutputs(keras.layers.Layer):
    """Hand the scores of auxiliary heads to the loss while training, and to nobody else.

    In a training step the scores come back stacked along a last axis, the main ones first; the losses of
    `kseg.losses.Auxiliary` and the metrics take that apart. In prediction, evaluation and every export the
    main scores pass alone, and the heads are not computed.

    Call arguments:
        main: `(B, H, W, C)`.
        *auxiliary: `(B, H, W, C)` each.

    Returns:
        `(B, H, W, C)`; in training `(B, H, W, C, 1 + heads)`.
    """

    def call(self, main, *auxiliary, training=False):
        return ops.stack([main, *auxiliary], axis=-1) if training else main

    def compute_output_spec(self, main, *auxiliary, training=False):
        return keras.KerasTensor(main.shape, main.dtype)
